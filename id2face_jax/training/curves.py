"""Training curves of one or more runs as a picture, from their metrics.jsonl.

    python -m id2face_jax.training.curves runs/lfw128 --out curves.png

Owns the chart in the model card and README; TensorBoard shows the same live. Runs are
drawn one after another on one axis of steps, as a warm start continues the run before.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from id2face_jax import charts
from id2face_jax.data import pairs
from id2face_jax.training import metrics

# Title of a panel, and the terms of `losses` in it.
PANELS = (
    ("recomposition error", ("recomposition",)),
    ("the same by noise", tuple(f"recomposition_t{i}" for i in range(1, 5))),
    ("identity: 1 - cosine", ("identity_reconstruction", "identity_consistency")),
    ("identity loss: asked, source", ("asked_identity", "source_identity")),
    ("leak: 1 - cosine read from attributes", ("leak_probe",)),
)


def read(workdir: pathlib.Path) -> list[dict]:
    """The lines of a run's metrics.jsonl. Raises ValueError if there are none."""
    rows = metrics.read_rows(pathlib.Path(workdir))
    if not rows:
        path = pathlib.Path(workdir) / metrics.JSONL
        raise ValueError(f"{path} holds no metrics; give the --workdir of a run")
    return rows


def join(runs: Sequence[list[dict]]) -> tuple[list[dict], list[int]]:
    """Lines of runs as if they were one, and the steps at which later ones begin."""
    lines, starts, offset = [], [], 0
    for run in runs:
        lines += [line | {"step": line["step"] + offset} for line in run]
        offset = lines[-1]["step"]
        starts.append(offset)
    return lines, starts[:-1]


def _both(names: Sequence[str]) -> set[str]:
    """Of training and of held-out people."""
    return {*names, *(f"{pairs.HELDOUT}/{name}" for name in names)}


def draw(lines: list[dict], starts: Sequence[int]) -> bytes:
    """PNG of PANELS over steps: lines for training, dots for held-out people.

    Panels that no line has a number for are left out. Raises ValueError if all are.
    """
    known = set().union(*lines)
    shown = [(title, names) for title, names in PANELS if known & _both(names)]
    if not shown:
        names = [name for _, names in PANELS for name in names]
        raise ValueError(f"the metrics hold none of {names}; give runs of id2face")
    figure, panels = charts.new(len(shown), 12.0, 3.2)
    for axes, (title, names) in zip(panels, shown, strict=True):
        for name in names:
            for prefix, style in (("", "-"), (f"{pairs.HELDOUT}/", "o")):
                seen = [line for line in lines if prefix + name in line]
                if seen:
                    steps = [line["step"] for line in seen]
                    values = [line[prefix + name] for line in seen]
                    axes.plot(steps, values, style, ms=4, label=prefix + name)
        for start in starts:
            axes.axvline(start, color="0.7", lw=1)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step")
        axes.legend(fontsize=7, frameon=False)
    return charts.png(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the picture; 1 and a message if a run has no metrics."""
    parser = argparse.ArgumentParser(description="Training curves as a picture.")
    parser.add_argument("workdirs", nargs="+", help="of runs, in their order")
    parser.add_argument("--out", required=True, help="PNG to write")
    args = parser.parse_args(argv)
    try:
        lines, starts = join([read(pathlib.Path(path)) for path in args.workdirs])
        picture = draw(lines, starts)
    except ValueError as error:
        print(f"curves: {error}", file=sys.stderr)
        return 1
    pathlib.Path(args.out).write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
