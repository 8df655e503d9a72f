"""Damaged files through the doors of images, clips and labels: what comes out?

python -m studies.robustness.fuzz --images 500 --clips 200 --labels 300 --seed 0

Each file is a good one with a few wounds, and goes through `id2face anonymize`. A crash
is a traceback or a signal; a hang, more than --limit seconds; untouched, a result in
which a face looks as in the source; a leak, a label file with the original's embedding.
Detector and networks are the tests' stand-ins: they see a face in any picture of one
size. Prints a table; files that did harm are kept in --keep, and the exit code is 1.
"""

import argparse
import collections
import dataclasses
import pathlib
import random
import re
import shutil
import sys
import tempfile

import numpy as np

from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.video import container
from studies.robustness import process, seeds
from studies.robustness.mutate import mutated

_FACE = (slice(75, 120), slice(75, 125))  # inside of the mask
_SHAPE = (200, 220, 3)


@dataclasses.dataclass
class Door:
    """What came of the files of one kind."""

    name: str
    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    peak_mb: float = 0.0
    harm: list[str] = dataclasses.field(default_factory=list)

    def row(self) -> str:
        names = ("files", "results", "crashes", "hangs", "untouched", "leaks")
        numbers = " | ".join(str(self.counts[name]) for name in names)
        return f"| {self.name} | {numbers} | {self.peak_mb:.0f} |"


def run(door: Door, folder: pathlib.Path, arguments, limit: float) -> bool:
    """Whether the command did no harm to itself. Its results are in folder/out."""
    source, out = folder / "in", folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    arguments = [str(source), "-o", str(out), *arguments]
    ended = process.run(arguments, folder / "log", limit)
    door.peak_mb = max(door.peak_mb, ended.peak_mb)
    is_crash = "Traceback" in ended.told or not 0 <= ended.code <= 3
    is_hang = ended.code == -9
    door.counts["hangs"] += is_hang
    door.counts["crashes"] += is_crash and not is_hang
    if is_crash:
        door.harm.append(" / ".join(ended.told.strip().splitlines()[-2:])[-300:])
    return not is_crash


def is_same(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the face of the one shows in the other."""
    # Gray: channels of different means would look alike.
    old, new = (image[_FACE].mean(axis=-1).ravel() for image in (before, after))
    if before.shape != _SHAPE or after.shape != _SHAPE:
        return before.shape == after.shape
    if old.std() < 8:  # nothing to be seen
        return False
    return new.std() > 0 and np.corrcoef(old, new)[0, 1] > 0.5


def pixels(path: pathlib.Path) -> np.ndarray | None:
    try:
        return images.read(path).pixels
    except ValueError:
        return None


def check_pictures(door: Door, folder: pathlib.Path) -> bool:
    """Counts results, and those that show their source."""
    is_good = True
    for new in sorted((folder / "out").rglob("*")):
        if new.suffix.lower() not in images.FORMATS or new.name.startswith("."):
            continue
        door.counts["results"] += 1
        before = pixels(folder / "in" / new.relative_to(folder / "out"))
        after = pixels(new)
        if before is None or after is None or is_same(before, after):
            door.counts["untouched"] += 1
            door.harm.append(f"{new.name} is untouched, or whole of a damaged source")
            is_good = False
    return is_good


def fuzz_images(rng, num, folder, limit, keep) -> Door:
    """A few dozen files a run, as the command takes them."""
    door, good = Door("images"), seeds.pictures()
    while door.counts["files"] < num:
        (folder / "in").mkdir()
        for number in range(min(25, num - door.counts["files"])):
            name = rng.choice(sorted(good))
            file = folder / "in" / f"{number:02d}{pathlib.Path(name).suffix}"
            file.write_bytes(mutated(good[name], rng))
            door.counts["files"] += 1
        is_good = run(door, folder, ["--batch-size", "8"], 25 * limit)
        finish(folder, is_good & check_pictures(door, folder), keep, door)
    return door


def fuzz_clips(rng, num, folder, limit, keep) -> Door:
    door, good = Door("clips"), seeds.clips(folder)
    for _ in range(num):
        (folder / "in").mkdir()
        name = rng.choice(sorted(good))
        file = folder / "in" / name
        file.write_bytes(mutated(good[name], rng))
        door.counts["files"] += 1
        is_good = run(door, folder, [], limit)
        for new in (folder / "out").glob(f"{file.stem}.*"):
            door.counts["results"] += 1
            if any(is_same(*pair) for pair in _frames(file, new)):
                door.counts["untouched"] += 1
                door.harm.append(f"a frame of {name} is untouched")
                is_good = False
        finish(folder, is_good, keep, door)
    return door


def _frames(before: pathlib.Path, after: pathlib.Path):
    """Pairs of frames, in order, which is all that both files share."""
    old, new = (
        [frame.pixels for frame in container.frames(path, container.Span())]
        for path in (before, after)
    )
    return zip(old, new, strict=True)


def fuzz_labels(rng, num, folder, limit, keep) -> Door:
    """One damaged label file, or archive, of a dataset with two pictures."""
    door, good = Door("labels"), seeds.datasets()
    for _ in range(num):
        files, arguments, names = good[rng.choice(sorted(good))]
        wounded = rng.choice(names)
        for name, content in files.items():
            path = folder / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mutated(content, rng) if name == wounded else content)
        door.counts["files"] += 1
        is_good = run(door, folder, arguments, limit) & check_pictures(door, folder)
        for new in (folder / "out").rglob("*"):
            if new.is_file() and _leaks(new.read_bytes()):
                door.counts["leaks"] += 1
                door.harm.append(f"{new.name} of {wounded} has the embedding")
                is_good = False
        finish(folder, is_good, keep, door)
    return door


def _leaks(content: bytes) -> bool:
    """Whether sixteen numbers of the embedding stand in a row."""
    numbers = [float(x) for x in re.findall(rb"-?\d+\.\d+", content)]
    rows = {tuple(numbers[i : i + 16]) for i in range(len(numbers) - 15)}
    secret = [float(x) for x in seeds.VECTOR.split()]
    return any(tuple(secret[i : i + 16]) in rows for i in range(len(secret) - 15))


def finish(folder, is_good: bool, keep: pathlib.Path | None, door: Door) -> None:
    """Makes room for the next file; what did harm is kept."""
    if not is_good and keep is not None:
        place = keep / f"{door.name}-{len(door.harm)}"
        shutil.copytree(folder / "in", place, dirs_exist_ok=True)
    shutil.rmtree(folder / "in")
    shutil.rmtree(folder / "out", ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("images", "clips", "labels"):
        parser.add_argument(f"--{name}", type=int, default=0, help="how many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a file")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for what did harm")
    args = parser.parse_args(argv)
    process.plant()
    doors = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for fuzz, num in (
            (fuzz_images, args.images),
            (fuzz_clips, args.clips),
            (fuzz_labels, args.labels),
        ):
            rng = random.Random(f"{args.seed} {fuzz.__name__}")
            doors += [fuzz(rng, num, folder, args.limit, args.keep)] if num else []
    print("| door | files | results | crashes | hangs | untouched | leaks | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for door in doors:
        print(door.row())
    harm = [told for door in doors for told in door.harm]
    print(*dict.fromkeys(harm), sep="\n")
    return bool(harm)


if __name__ == "__main__":
    sys.exit(main())
