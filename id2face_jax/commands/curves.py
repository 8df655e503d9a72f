"""Draws the training curves of a run, or of several that continue each other.

Reads metrics.jsonl, also while the run goes on. Lines are of train people, dots of
held-out ones.
"""

import argparse
import pathlib

from id2face_jax.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the runs and the picture."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="The --workdir of a run; several in the order in which they were trained.",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="Write this PNG file. (default: curves.png in the last RUN)",
    )


def run(args: argparse.Namespace) -> int:
    """Draws, and says how far the run is."""
    out = pathlib.Path(args.out or pathlib.Path(args.runs[-1]) / "curves.png")
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out is {out}; use a name that ends in .png")
    for path in args.runs:
        if not (pathlib.Path(path) / "metrics.jsonl").is_file():
            raise UsageError(
                f"{path} has no metrics.jsonl; give the --workdir of a run"
            )
    from id2face_jax import atomic
    from id2face_jax.training import curves

    lines, starts = curves.join([curves.read(pathlib.Path(path)) for path in args.runs])
    atomic.write_atomically(out, curves.draw(lines, starts))
    print(f"{out}: {len(lines)} lines, up to step {lines[-1]['step']}")
    return 0
