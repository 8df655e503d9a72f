"""Training curves of one or more runs as a picture, from their metrics.jsonl.

Owns the chart that `id2face curves` draws; TensorBoard shows the same. Runs are drawn
one after another on one axis of steps, as a warm start continues the run before. A run
may go on meanwhile.
"""

import pathlib
from collections.abc import Sequence

from id2face_jax import charts
from id2face_jax.data import pairs
from id2face_jax.training import metrics

# Title of a panel, and the terms of `losses` in it; of the decoder, the last two.
PANELS = (
    ("recomposition error", ("recomposition",)),
    ("the same by noise", tuple(f"recomposition_t{i}" for i in range(1, 5))),
    ("identity: 1 - cosine", ("identity_reconstruction", "identity_consistency")),
    ("identity loss: asked, source", ("asked_identity", "source_identity")),
    ("leak: 1 - cosine read from attributes", ("leak_probe",)),
    ("decoder: error", ("l1", "l2", "latent")),
    ("decoder: PSNR, dB", ("psnr",)),
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
        raise ValueError(
            f"the metrics hold none of {names}; give runs of `id2face train`"
        )
    figure, panels = charts.new(len(shown), max(6.0, 2.6 * len(shown)), 3.8)
    for axes, (title, names) in zip(panels, shown, strict=True):
        for name in names:
            color = None  # of a term's line and dots: the next one that is free
            for prefix, style in (("", "-"), (f"{pairs.HELDOUT}/", "o")):
                seen = [line for line in lines if prefix + name in line]
                if seen:
                    steps = [line["step"] for line in seen]
                    values = [line[prefix + name] for line in seen]
                    label = name if color is None else None
                    (drawn,) = axes.plot(
                        steps, values, style, ms=4, color=color, label=label
                    )
                    color = drawn.get_color()
        for start in starts:
            axes.axvline(start, color="0.7", lw=1)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step; dots: held-out people", fontsize=8)
        # Below the axes, where no line is.
        below_axes = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18)}
        axes.legend(fontsize=7, frameon=False, **below_axes)
    return charts.png(figure)
