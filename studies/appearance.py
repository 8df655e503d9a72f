"""Fits the directions of appearance that ship with the package.

    python -m studies.appearance RECORDS LABELS.csv [--out FILE.npz]

LABELS.csv has a row a train face: photo (as in the records), male (probability), age
(years), both by the age-and-gender network of the npm package @vladmandic/face-api
(MIT) on the middle 3/4 of the crop. Skin tone is measured here, in the pixels.
"""

import argparse
import csv
import pathlib

import numpy as np

from id2face_jax.data import records
from id2face_jax.faces import appearance, embed


def main() -> None:
    """Fits, prints how well each label is read, and writes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("records", help="folder that `id2face prepare` wrote")
    parser.add_argument("labels", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=appearance.FILE)
    args = parser.parse_args()
    with args.labels.open() as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    source = records.open_records(args.records, "train")
    embeddings, labels = [], []
    for index in range(len(source)):
        record = source[index]
        row = rows.get(record["photo"])
        if row is None:
            continue
        light = appearance.skin_lightness(record["image"], record["landmarks"])
        labels.append([float(row["male"]), float(row["age"]), light])
        embeddings.append(record["embedding"])
    directions, read = appearance.fit(np.stack(embeddings), np.array(labels))
    found = ", ".join(
        f"{n} {r:.2f}" for n, r in zip(appearance.NAMES, read, strict=True)
    )
    print(f"{len(labels)} faces; correlation with the label, out of fold: {found}")
    name = embed.make_recognizer("dlib").name
    np.savez(args.out, directions=directions, recognizer=name, read=read)


if __name__ == "__main__":
    main()
