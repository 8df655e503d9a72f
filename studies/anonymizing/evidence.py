"""Makes evidence.md and evidence.json: what `id2face anonymize` does to real photos.

.venv/bin/python -m studies.anonymizing.evidence PEOPLE --recognizer A.onnx
    [--recognizer B.onnx] --detector yunet.onnx [--num 200]
    [--batch-sizes 1 4 16] [--work runs/evidence] [--out docs/anonymizing]

PEOPLE is a folder PERSON/PHOTO.jpg of people whom the model was not trained on. The
recognizers and the detector look at the results and had no part in making them. Photos
stay in --work; what goes to --out holds counts alone.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from studies.anonymizing import corpus, independent, tables, video

BIN = pathlib.Path(sys.executable).parent
CALIBRATION = 300  # photos on which recognizers are calibrated, each of another person
FEW = 20  # photos of the small run, which also give the speed by batch size


@dataclasses.dataclass(frozen=True)
class Ran:
    """A finished command: exit code, seconds, and most memory in MB."""

    code: int
    seconds: float
    peak_mb: int


def run(log: pathlib.Path, *command: str) -> Ran:
    """Runs a command of the environment as a user would, its words to a log."""
    start = time.perf_counter()
    with open(log, "ab") as words:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], stdout=words, stderr=words
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ran(process.returncode, round(seconds, 1), usage.ru_maxrss // 1024)


@dataclasses.dataclass
class Work:
    """The places and the eyes of one run of this script."""

    root: pathlib.Path
    people: list[str]
    detector: independent.Detector
    recognizers: list[independent.Calibrated] = dataclasses.field(default_factory=list)

    @property
    def inputs(self) -> pathlib.Path:
        return self.root / "input"

    def run(self, *command: str) -> Ran:
        return run(self.root / "log.txt", *command)

    @functools.cached_property
    def sources(self) -> list[pathlib.Path]:
        return sorted(p for p in self.inputs.rglob("*") if p.is_file())


def prepare(args: argparse.Namespace) -> Work:
    """An empty working folder with the corpus, and the recognizers, calibrated."""
    if args.work.exists():
        shutil.rmtree(args.work)
    folder = args.work / "input"
    photos = corpus.photos_of(args.people)
    corpus.copy(photos[: args.num], folder / "people")
    people = [photo.parent.name for photo in photos[: args.num]]
    work = Work(args.work, people, independent.Detector(args.detector))
    faces = [(p, work.detector(p)) for p in map(independent.pixels, work.sources)]
    pair = [(image, found[0][0]) for image, found in faces if len(found) == 1][:2]
    corpus.write_odd(folder / "odd", corpus.join(*pair[0], *pair[1]))
    known = photos[:CALIBRATION]
    work.recognizers = [
        independent.calibrated(path, known, work.detector) for path in args.recognizer
    ]
    del work.sources  # there are more by now
    return work


def report_of(folder: pathlib.Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def memory(work: Work) -> dict:
    """Most memory, MB, and seconds of FEW photos and of all, programs compiled.

    Leaves the FEW in the folder `few`. Without the odd files, which are larger.
    """
    few = work.root / "few"
    few.mkdir()
    photos = [path for path in work.sources if path.parent.name == "people"]
    for path in photos[:FEW]:
        shutil.copyfile(path, few / path.name)
    rows = {}
    for folder, num in ((few, FEW), (work.inputs / "people", len(photos))):
        command = ("id2face", "anonymize", str(folder), "--quiet", "-o")
        for attempt in ("cold", "warm"):
            ran = work.run(*command, str(work.root / f"memory-{num}-{attempt}"))
        rows[str(num)] = {"peak_mb": ran.peak_mb, "seconds": ran.seconds}
    return rows


def small_runs(work: Work, sizes: Sequence[int]) -> list[dict]:
    """Seconds a face by batch size, programs compiled, on the FEW photos.

    Those are the seconds in which pictures are in work; starting is told apart.
    """
    few = work.root / "few"
    rows = []
    for size in sizes:
        out = work.root / f"few-{size}"
        command = ("id2face", "anonymize", str(few), "-o", str(out), "--quiet")
        command += ("--on-no-face", "skip", "--batch-size", str(size))
        cold = work.run(*command)
        warm = work.run(*command, "--overwrite")
        files = report_of(out)["files"]
        busy = sum(file["seconds"] for file in files)
        num = sum(len(file["faces"]) for file in files)
        rows.append(
            {
                "batch_size": size,
                "faces": num,
                "seconds_a_face": round(busy / max(num, 1), 2),
                "starting_seconds": round(warm.seconds - busy, 1),
                "first_run_seconds": cold.seconds,
                "peak_mb": warm.peak_mb,
            }
        )
    return rows


def outcomes(
    work: Work, results: dict[pathlib.Path, pathlib.Path], lying: bool = False
) -> dict[pathlib.Path, dict]:
    """What became of each source that has a result.

    lying: results whose orientation the program has dropped are turned upright first.
    """
    found = {}
    for source, result in results.items():
        if not result.is_file():
            continue
        before, after = independent.pixels(source), independent.pixels(result)
        same_bytes = source.read_bytes() == result.read_bytes()
        if before is None or after is None:
            found[source] = {"unchanged": same_bytes, "seen": [], "readable": False}
            continue
        if lying:
            after = independent.turned_as(source, after)
        same_size = before.shape == after.shape
        seen = []
        if same_size:
            seen = independent.compare(before, after, work.detector, work.recognizers)
        found[source] = {
            "unchanged": same_bytes or (same_size and np.array_equal(before, after)),
            "seen": seen,
            "readable": same_size,
        }
    return found


def figures(work: Work, found: dict[pathlib.Path, dict]) -> dict:
    """Counts over files and faces of what `outcomes` says."""
    faces = [face for one in found.values() for face in one["seen"]]

    def known(face, recognizer):
        return face.cosines[recognizer.name] >= recognizer.threshold

    return {
        "outputs": len(found),
        "unchanged_outputs": sum(one["unchanged"] for one in found.values()),
        "faces": len(faces),
        "untouched_faces": sum(face.is_untouched for face in faces),
        "recognized_faces": {
            r.name: sum(known(face, r) for face in faces) for r in work.recognizers
        },
        "recognized_outputs": {
            r.name: sum(
                any(known(face, r) for face in one["seen"]) for one in found.values()
            )
            for r in work.recognizers
        },
    }


def odd_row(work: Work, one: dict | None) -> str:
    """A result of an odd file in words."""
    if one is None:
        return "nothing"
    if one["unchanged"]:
        return "**the input, pixel by pixel**"
    if not one["readable"]:
        return "a file of another size, or none that can be read"
    known = [
        face
        for face in one["seen"]
        if any(face.cosines[r.name] >= r.threshold for r in work.recognizers)
    ]
    untouched = sum(face.is_untouched for face in one["seen"])
    words = [f"**{untouched} untouched**"] if untouched else []
    words += [f"{len(known)} known again"] if known else []
    return f"{len(one['seen'])} faces" + "".join(f", {word}" for word in words)


def ours(work: Work) -> dict:
    """The run over the whole folder, and what became of every file."""
    out = work.root / "id2face"
    ran = work.run("id2face", "anonymize", str(work.inputs), "-o", str(out), "--quiet")
    results = {s: out / s.relative_to(work.inputs) for s in work.sources}
    found = outcomes(work, results)
    files = report_of(out)["files"]
    states = {file["input"]: file for file in files}
    odd = {}
    for source in work.sources:
        if source.parent.name == "odd":
            record = states[str(source)]
            odd[source.name] = {
                "state": record["state"],
                "message": record["message"],
                "result": odd_row(work, found.get(source)),
            }
    faces = [face for file in files for face in file["faces"]]
    return {
        **dataclasses.asdict(ran),
        "files": len(work.sources),
        "states": dict(Counter(file["state"] for file in files)),
        "face_states": dict(Counter(face["state"] for face in faces)),
        "covered": sum(len(file["covered"]) for file in files),
        "attempts": dict(Counter(str(face["attempts"]) for face in faces)),
        **figures(work, found),
        "odd": odd,
    }


def theirs(work: Work) -> dict:
    """The same files through deface: photos as a folder, odd ones one by one."""
    folder = work.root / "deface"
    folder.mkdir()
    results, odd = {}, {}
    for source in work.sources:
        kind = folder / source.parent.name
        kind.mkdir(exist_ok=True)
        shutil.copyfile(source, kind / source.name)
        name = f"{source.stem}_anonymized{source.suffix}"
        results[source] = kind / name
    ran = work.run("deface", str(folder / "people"))
    # A first bad file ends a run over a folder, so each has a run of its own.
    together = work.run("deface", str(folder / "odd"))
    for path in (folder / "odd").glob("*_anonymized.*"):
        path.unlink()
    for source in work.sources:
        if source.parent.name == "odd":
            alone = work.run("deface", str(folder / "odd" / source.name))
            odd[source.name] = {"code": alone.code}
    found = outcomes(work, results, lying=True)
    for source in work.sources:
        if source.name in odd:
            odd[source.name]["result"] = odd_row(work, found.get(source))
    return {
        "version": importlib.metadata.version("deface"),
        **dataclasses.asdict(ran),
        "odd_folder_code": together.code,
        "files": len(work.sources),
        **figures(work, found),
        "odd": odd,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("people", type=pathlib.Path, metavar="PEOPLE")
    parser.add_argument(
        "--recognizer", type=pathlib.Path, action="append", required=True
    )
    parser.add_argument("--detector", type=pathlib.Path, required=True)
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--work", type=pathlib.Path, default="runs/evidence")
    parser.add_argument("--out", type=pathlib.Path, default="docs/anonymizing")
    args = parser.parse_args(argv)
    work = prepare(args)
    clip = video.make(work)
    content = {
        "photos": len(work.people),
        "people": len(set(work.people)),
        "recognizers": [
            {"name": r.name, "threshold": round(r.threshold, 3), "pairs": r.num_pairs}
            for r in work.recognizers
        ],
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "memory": memory(work),
        "speed": small_runs(work, args.batch_sizes),
        "id2face": ours(work),
        "deface": theirs(work),
        "video": clip,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1) + "\n"
    (args.out / "evidence.json").write_text(text)
    (args.out / "evidence.md").write_text(tables.page(content))
    print(tables.page(content))


if __name__ == "__main__":
    main()
