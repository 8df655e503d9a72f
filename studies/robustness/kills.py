"""Kills runs over files at random moments, goes on, and compares with a whole run.

python -m studies.robustness.kills --kills 100 --seed 0

A folder, a clip, and a machine's share of pictures and archives, by the command itself
and with real SIGKILLs. The faces and networks are the tests' stand-ins: it is the files
that are in question. Prints a table, and ends with 1 if anything was not as it should.
"""

import argparse
import collections
import dataclasses
import io
import os
import pathlib
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import time

import PIL.Image

from studies.robustness import process
from tests.anonymize import clips, planted


@dataclasses.dataclass(frozen=True)
class Run:
    """A run to be killed, and what it writes if it is not.

    Attributes:
      arguments: of `id2face anonymize`, but for the output folder.
      contents: visible files and their bytes, but for reports.
      seconds: that it takes.
      code: that it ends with.
    """

    arguments: tuple[str, ...]
    contents: dict[str, bytes] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    code: int = 0


def make_inputs(root: pathlib.Path) -> dict[str, Run]:
    """The inputs of each kind of run in a folder."""
    for number in range(16):
        _save(root / "folder" / f"part-{number % 3}" / f"{number}.png", number)
    (root / "folder" / "broken.jpg").write_bytes(b"no picture")
    clips.write_clip(root / "clip.mp4", num=24)
    for number in range(8):
        _save(root / "share" / f"{number}.jpg", number)
    for number in range(3):
        _write_archive(
            root / "share" / f"{number}.tar", range(4 * number, 4 * number + 4)
        )
    return {
        "folder": Run((str(root / "folder"), "--batch-size", "1")),
        "clip": Run((str(root / "clip.mp4"),)),
        "shard": Run((str(root / "share"), "--shard", "1/2", "--batch-size", "1")),
    }


def _save(path: pathlib.Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(planted.picture(seed)).save(path)


def _write_archive(path: pathlib.Path, seeds) -> None:
    with tarfile.open(path, "w") as archive:
        for seed in seeds:
            buffer = io.BytesIO()
            PIL.Image.fromarray(planted.picture(seed)).save(buffer, "PNG")
            for name, content in ((".png", buffer.getvalue()), (".txt", b"a face\n")):
                info = tarfile.TarInfo(f"{seed}{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _start(run: Run, out: pathlib.Path) -> int:
    return process.start([*run.arguments, "-o", str(out)])


def undisturbed(run: Run, out: pathlib.Path) -> Run:
    """The run with what it writes, how long it takes and what it ends with."""
    began = time.monotonic()
    code = process.wait(_start(run, out))
    seconds = time.monotonic() - began
    contents = visible(out)
    assert contents, f"{run.arguments} wrote nothing"
    return dataclasses.replace(run, contents=contents, seconds=seconds, code=code)


def visible(out: pathlib.Path) -> dict[str, bytes]:
    """What people find in a folder, but for the reports."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and not path.name.startswith("report")
    }


def killed(run: Run, out: pathlib.Path, rng: random.Random) -> bool:
    """Whether a run, or what is left of it, was still at work when it was killed.

    At a random time, or a little after a random number of its files appeared: most of
    them appear in a short part of its time.
    """
    pause, num = rng.uniform(0.0, run.seconds), 0
    if rng.random() < 0.7:
        pause, num = rng.uniform(0.0, 0.03), rng.randint(1, len(run.contents))
    child, deadline = _start(run, out), time.monotonic() + run.seconds
    while time.monotonic() < deadline and _num_files(out) < num:
        time.sleep(0.0005)
    time.sleep(pause)
    os.kill(child, signal.SIGKILL)
    return process.wait(child) == -signal.SIGKILL


def _num_files(out: pathlib.Path) -> int:
    """Also those in work."""
    folders = os.walk(out)
    return sum(
        not name.startswith(".report") for *_, names in folders for name in names
    )


def faults(run: Run, out: pathlib.Path, *, is_over: bool) -> list[str]:
    """What is wrong in a folder after a kill, or after the run went on to its end."""
    found = visible(out) if out.exists() else {}
    wrong = [f"{n} differs" for n, x in found.items() if run.contents.get(n) != x]
    if is_over:
        wrong += [f"{name} is lost" for name in run.contents if name not in found]
        wrong += [f"{path.name} is left" for path in out.rglob("*.id2face-part")]
        wrong += [] if list(out.glob("report*.json")) else ["there is no report"]
    return wrong


def trial(run: Run, out: pathlib.Path, rng: random.Random, most: int) -> tuple:
    """(kills, results that stood after each, faults) of one run, killed and resumed."""
    num, standing, wrong = 0, [], []
    while num < most:
        if not killed(run, out, rng):
            break
        num += 1
        standing.append(len(visible(out)) if out.exists() else 0)
        wrong += faults(run, out, is_over=False)
        if rng.random() < 0.5:
            break
    code = process.wait(_start(run, out))
    wrong += faults(run, out, is_over=True)
    if code != run.code:
        wrong.append(f"it ends with {code} in place of {run.code}")
    return num, standing, wrong


def slow_face(requests, row):
    """A new face that takes about as long as a network's, so that kills meet work."""
    time.sleep(0.05)
    return planted.other_face(requests, row)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    process.plant(slow_face)
    rng, kills, partial = random.Random(args.seed), collections.Counter(), 0
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        kinds = {
            name: undisturbed(run, root / f"whole-{name}")
            for name, run in make_inputs(root).items()
        }
        while sum(kills.values()) < args.kills:
            name = min(kinds, key=lambda name: kills[name])
            out = root / "out"
            left = args.kills - sum(kills.values())
            num, standing, found = trial(kinds[name], out, rng, left)
            kills[name] += num
            partial += sum(0 < n < len(kinds[name].contents) for n in standing)
            wrong += [f"{name}: {fault}" for fault in found]
            shutil.rmtree(out, ignore_errors=True)
    print("| run | results | kills |\n|---|---|---|")
    for name, run in kinds.items():
        print(f"| {name} | {len(run.contents)} | {kills[name]} |")
    print(f"{partial} kills left some results and not all; {len(wrong)} faults", *wrong)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
