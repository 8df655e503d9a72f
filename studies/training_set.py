"""The folder of people that the built-in weights are trained on, from its six sources.

    python studies/training_set.py SHARED_DATA_EXTRACTED OUT

Makes OUT/PERSON/PHOTO links and OUT.csv with the splits of `id2face prepare --splits`.
A person's name begins with the set it is from, which is what `data.repeats` goes by.
Members of Congress have one folder, whatever set their photos are from: their second
photos make same-identity pairs. Left out: official photos that Congress has already,
and portraits of fellows cut to a disk, whose corners are one flat color.
"""

import csv
import pathlib
import sys

import cv2
import numpy as np


def _is_disk(path: pathlib.Path) -> bool:
    image = cv2.imread(str(path)).astype(np.float32)
    side = max(4, min(image.shape[:2]) // 16)
    corners = [
        image[rows, columns].reshape(-1, 3)
        for rows in (slice(0, side), slice(-side, None))
        for columns in (slice(0, side), slice(-side, None))
    ]
    flat = all(corner.std(0).max() < 6 for corner in corners)
    means = np.array([corner.mean(0) for corner in corners])
    return flat and np.ptp(means, axis=0).max() < 10 and np.ptp(means[0]) > 25


def _rows(path: pathlib.Path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))


def assemble(folder: pathlib.Path, tables: pathlib.Path, out: pathlib.Path) -> dict:
    """person -> split, with the links made. Prints what was left out."""
    splits, left_out = {}, {"same photo": 0, "disk": 0}

    def link(person: str, photo: pathlib.Path, name: str, split: str = "train"):
        target = out / person / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(photo.absolute())
        splits[person] = split

    for row in _rows(tables / "lfw" / "splits.csv"):
        for photo in sorted(
            (folder / "lfw-deepfunneled-dev" / row["person"]).iterdir()
        ):
            link(f"lfw_{row['person']}", photo, photo.name, row["split"])
    for photo in sorted((folder / "congress-225x275").glob("*/*.jpg")):
        person = photo.parent.name.removeprefix("congress_")
        link(f"official_{person}", photo, "congress.jpg")
    for row in _rows(tables / "officials" / "us-officials-pd-mixed.csv"):
        if row["same_photo_as_congress225"] == "1":
            left_out["same photo"] += 1
            continue
        name = f"{row['photo']}.jpg"
        photo = folder / "us-officials-pd-mixed" / row["person"] / name
        link(f"official_{row['person']}", photo, name)
    for photo in sorted((folder / "pif-cc0").glob("*/*.jpg")):
        if _is_disk(photo):
            left_out["disk"] += 1
            continue
        link(photo.parent.name, photo, photo.name)
    for photo in sorted((folder / "sfhq-mit").glob("*/*.jpg")):
        link(f"sfhq_{photo.parent.name.removeprefix('sfhq')}", photo, photo.name)
    print(f"{len(splits)} people; left out: {left_out}")
    return splits


def main() -> None:
    folder, tables, out = (pathlib.Path(arg) for arg in sys.argv[1:4])
    splits = assemble(folder, tables, out)
    with open(f"{out}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["person", "split"])
        writer.writerows(sorted(splits.items()))


if __name__ == "__main__":
    main()
