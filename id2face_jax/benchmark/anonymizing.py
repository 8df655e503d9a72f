"""`id2face anonymize` on folders: shares of its stages, faces a second, flatness.

Owns the photos, if the user gives none: views of scikit-image's public-domain portrait,
each cut and lit in its own way, with one face. Whole folders run as commands of their
own, beside `deface` on the same files where it is installed.
"""

import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence

import cv2
import numpy as np
import skimage.data

from id2face_jax.anonymize.batch import discovery, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline import stages
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.report.record import FileRecord
from id2face_jax.benchmark import startup, timing


def write_photos(folder: pathlib.Path, num: int) -> list[pathlib.Path]:
    """`num` JPEGs of 512 x 512 pixels, one face each, no two alike."""
    portrait, paths = skimage.data.astronaut(), []
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(num):
        # The face is at (170, 60) to (290, 220), whole in all of these.
        left, top, cut = rng.integers([0, 0, 400], [60, 30, 452])
        view = portrait[top : top + cut, left : left + cut]
        light = rng.uniform(0.8, 1.1)
        view = np.clip(view * light, 0, 255).astype(np.uint8)
        pixels = cv2.resize(view, (512, 512), interpolation=cv2.INTER_AREA)
        paths.append(folder / f"{index:04d}.jpg")
        paths[-1].write_bytes(images.encode(images.Photo(pixels), pixels, ".jpg"))
    return paths


def copy_photos(source: pathlib.Path, folder: pathlib.Path, num: int) -> list:
    """Copies of the first `num` pictures under `source`, by name.

    Raises ValueError if there are fewer.
    """
    jobs = [job for job in discovery.plan([source], folder) if not runner.is_large(job)]
    if len(jobs) < num:
        raise ValueError(
            f"--photos {source} holds {len(jobs)} pictures, and {num} are measured; "
            f"give more of them, or --num-photos {len(jobs)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:04d}{job.source.suffix}" for i, job in enumerate(jobs[:num])]
    for job, path in zip(jobs, paths, strict=False):
        shutil.copyfile(job.source, path)
    return paths


def measure_stages(anonymizer: Anonymizer, photos: Sequence[pathlib.Path]) -> dict:
    """Seconds of each stage on photos of one folder, in this process, once warm."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        _run(anonymizer, photos[:1], out / "warm")
        start = time.perf_counter()
        with stages.measure() as seconds:
            records = _run(anonymizer, photos, out / "measured")
        whole = time.perf_counter() - start
    faces = sum(len(record.faces) for record in records)
    seconds["other"] = whole - sum(seconds.values())
    return {
        "photos": len(photos),
        "faces": faces,
        "seconds": whole,
        "faces_per_s": faces / whole,
        "states": {s: sum(r.state == s for r in records) for s in _states(records)},
        "stages": seconds,
        "shares": {name: value / whole for name, value in seconds.items()},
    }


def _states(records) -> list[str]:
    return sorted({record.state for record in records})


def _run(anonymizer, photos, out: pathlib.Path) -> list[FileRecord]:
    ledger = state.Ledger(out / state.REPORT_NAME)
    jobs = discovery.plan(photos, out)
    records = runner.run(anonymizer, jobs, ledger, FileOptions(), People(), quiet=True)
    ledger.close()
    return records


def folders(
    photos: Sequence[pathlib.Path],
    checkpoint: str | None,
    sizes: tuple[int, int],
    repeats: int,
) -> dict:
    """Commands on 1, sizes[0] and sizes[1] of the photos: seconds, peak memory.

    Time per face is that beyond the first photo, so that start-up is left out of it.
    The largest folder is done once, the others `repeats` times. Programs come from the
    user's own folder of compiled ones.
    """
    found: dict[int, list[timing.Child]] = {num: [] for num in (1, *sizes)}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for num in found:
            _link(photos[:num], scratch / str(num))
        for turn in range(repeats):
            for num in (1, *sizes) if turn == 0 else (1, sizes[0]):
                command = startup.anonymize_command(
                    scratch / str(num), scratch / "out" / str(num), checkpoint
                )
                found[num].append(timing.run_child(command))
    times = {
        num: timing.summary([child.seconds for child in children])
        for num, children in found.items()
    }
    peaks = {num: max(c.peak_bytes for c in found[num]) for num in found}
    first = times[1]["median"]
    return {
        "seconds": {str(num): value for num, value in times.items()},
        "peak_bytes": {str(num): value for num, value in peaks.items()},
        "photos": list(sizes),
        "seconds_per_face": [
            (times[num]["median"] - first) / (num - 1) for num in sizes
        ],
        "faces_per_s": sizes[1] / times[sizes[1]]["median"],
    }


def _link(photos: Sequence[pathlib.Path], folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    for photo in photos:
        shutil.copyfile(photo, folder / photo.name)


def deface_command() -> str | None:
    """The `deface` command of this environment, or of the path."""
    beside = pathlib.Path(sys.executable).parent / "deface"
    return str(beside) if beside.exists() else shutil.which("deface")


def deface(photos: Sequence[pathlib.Path], sizes: Sequence[int]) -> dict | None:
    """`deface` on the same photos: seconds and peak bytes by their number.

    None where it is not installed.
    """
    command = deface_command()
    if command is None:
        return None
    found = {}
    for num in sizes:
        with tempfile.TemporaryDirectory() as folder:
            _link(photos[:num], pathlib.Path(folder) / "in")
            copies = sorted(str(p) for p in (pathlib.Path(folder) / "in").iterdir())
            child = timing.run_child([command, *copies])
        found[str(num)] = {"seconds": child.seconds, "peak_bytes": child.peak_bytes}
    return found
