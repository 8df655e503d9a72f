"""Fits the whitening of dlib's vectors on the train people of records.

    python -m id2face_jax.data.fit_whitening RECORDS --out FILE.npz

Leaves the map, and how candidates are compared, to `faces.whitening`.
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from id2face_jax.data import records
from id2face_jax.faces import whitening
from id2face_jax.faces.embed import DlibNetwork

_BLOCK = 256  # crops read at once


def main(argv: Sequence[str] | None = None) -> None:
    """The command line: fits on the train split of RECORDS, prints the comparison."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("records", help="folder that `id2face prepare` wrote")
    parser.add_argument("--out", type=pathlib.Path, required=True, help=".npz to write")
    args = parser.parse_args(argv)
    source = records.open_records(args.records, "train")
    network, parts = DlibNetwork(), []
    for start in tqdm(range(0, len(source), _BLOCK), unit="block"):
        rows = [source[i] for i in range(start, min(start + _BLOCK, len(source)))]
        landmarks = np.stack([row["landmarks"] for row in rows])
        parts.append(network([row["image"] for row in rows], landmarks))
    fitted, report = whitening.choose(np.concatenate(parts), source.person_ids)
    print("\n".join(report))
    whitening.save(args.out, fitted)


if __name__ == "__main__":
    main()
