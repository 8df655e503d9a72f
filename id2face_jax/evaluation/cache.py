"""What an evaluation has already computed, in files: a stopped run goes on.

Owns the chunks: arrays of a few photos in one .npz, written in one rename, so a file
is whole or not there. A folder's name carries a hash of everything its numbers depend
on; a changed model, seed, recognizer or photo gets a folder of its own.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tqdm

CHUNK = 64  # photos a file; bounds memory and what a stop can lose


def digest(value: Any) -> str:
    """12 hex digits of a JSON-able value, the same on every machine."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Stage:
    """One computation over all photos: chunk files in a folder of its own.

    Args:
      root: the cache's folder.
      name: of the stage, readable; may hold slashes.
      depends_on: JSON-able description of what the numbers depend on.
      num: photos in all.
    """

    def __init__(self, root: pathlib.Path, name: str, depends_on: Any, num: int):
        self.key = digest(depends_on)
        self.name = name
        self.folder = root / f"{name}-{self.key}"
        self._depends_on = depends_on
        self._chunks = [
            slice(first, min(first + CHUNK, num)) for first in range(0, num, CHUNK)
        ]

    def _path(self, rows: slice) -> pathlib.Path:
        return self.folder / f"{rows.start:07d}.npz"

    def fill(self, compute: Callable[[slice], dict[str, np.ndarray]]) -> None:
        """Computes the chunks that are not there yet, in order, with a progress bar."""
        missing = [rows for rows in self._chunks if not self._path(rows).is_file()]
        if not missing:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "depends_on.json").write_text(
            json.dumps(self._depends_on, sort_keys=True, indent=1)
        )
        num = sum(rows.stop - rows.start for rows in missing)
        with tqdm.tqdm(total=num, desc=self.name, unit="face") as bar:
            for rows in missing:
                arrays = compute(rows)
                part = self._path(rows).with_suffix(f".{os.getpid()}.part")
                with open(part, "wb") as file:
                    np.savez_compressed(file, **arrays)
                os.replace(part, self._path(rows))
                bar.update(rows.stop - rows.start)

    def chunk(self, rows: slice) -> dict[str, np.ndarray]:
        """The arrays of one chunk, as `fill` was given them."""
        with np.load(self._path(rows), allow_pickle=False) as arrays:
            return dict(arrays)

    def chunks(self) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
        """(rows, arrays) of every chunk in order; one is in memory at a time."""
        return ((rows, self.chunk(rows)) for rows in self._chunks)

    def column(self, name: str) -> np.ndarray:
        """One array of the stage over all photos."""
        parts = []
        for rows in self._chunks:
            with np.load(self._path(rows), allow_pickle=False) as arrays:
                parts.append(arrays[name])
        return np.concatenate(parts)

    def rows(self, name: str, wanted: np.ndarray) -> np.ndarray:
        """One array of the stage at a few rows, in the order asked for."""
        wanted = np.asarray(wanted)
        found: dict[int, np.ndarray] = {}
        for number in np.unique(wanted // CHUNK):
            array = self.chunk(self._chunks[number])[name]
            for row in wanted[wanted // CHUNK == number]:
                found[int(row)] = array[row % CHUNK]
        return np.stack([found[int(row)] for row in wanted])
