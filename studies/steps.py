"""Steps against quality: .venv/bin/python -m studies.steps [--limit N]

Runs `id2face evaluate` on people of the split "validation" for each of STEPS, then
writes steps.json, steps.md and steps.png to docs/performance. How many steps the model
takes is a choice, and choices are made on validation people with the built-in figures
alone: never on `test`, never with the evaluation's networks.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from id2face_jax.evaluation.report.tables import grid

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "performance"
SPLIT = "validation"
STEPS = (4, 6, 10, 25, 100)
# Figure, whether more is better, and where it stands: in the row, or in the built-in
# recognizer's part of it.
FIGURES = (
    ("detection_rate", True, "row"),
    ("landmark_error_pct", False, "row"),
    ("identity_control_top1", True, "row"),
    ("frechet_distance", False, "row"),
    ("lpips_outside", False, "row"),
    ("seam_ratio", False, "row"),
    ("diversity_wasserstein", False, "row"),
    ("source_match_far_1e-2", False, "recognizer"),
    ("cosine_mean", False, "recognizer"),
)
CLOSE = 0.05  # of the figure at the most steps


def evaluate(num_steps: int, args: argparse.Namespace) -> dict:
    """The row of one number of steps; stopped ones go on where they were."""
    out = pathlib.Path(args.work) / str(num_steps)
    command = [sys.executable, "-m", "id2face_jax.cli", "evaluate", args.records]
    command += ["--split", SPLIT, "--methods", "id2face", "--steps", str(num_steps)]
    command += ["--limit", str(args.limit), "--out", str(out)]
    command += ["--checkpoint", args.checkpoint] if args.checkpoint else []
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode not in (0, 3):  # 3: measured, and failed
        sys.exit(f"steps.py: `{' '.join(command)}` ended with {done.returncode}")
    result = json.loads((out / "evaluation.json").read_text())
    return {"data": result["data"], "row": result["rows"][0]}


def figures(row: dict) -> dict:
    """{figure: (value, interval or None)} of an evaluation's row."""
    places = {"row": row, "recognizer": next(iter(row["recognizers"].values()))}
    return {
        name: (places[where][name], places[where]["intervals"].get(name))
        for name, _, where in FIGURES
        if places[where].get(name) is not None
    }


def is_close(value: float, best: float, interval, more_is_better: bool) -> bool:
    """Whether a figure is at most CLOSE worse than `best`, or inside its interval."""
    worse = best - value if more_is_better else value - best
    if worse <= CLOSE * abs(best):
        return True
    return interval is not None and interval[0] <= value <= interval[1]


def verdicts(found: dict[int, dict]) -> dict[int, list[str]]:
    """For each number of steps, the figures that are worse than with the most."""
    best = found[max(found)]
    direction = {name: more for name, more, _ in FIGURES}
    return {
        steps: [
            name
            for name, (value, interval) in best.items()
            if not is_close(values[name][0], value, interval, direction[name])
        ]
        for steps, values in found.items()
    }


def to_markdown(found: dict[int, dict], data: dict) -> str:
    """The table, and the least number of steps at which nothing is worse."""
    names = list(found[max(found)])
    worse = verdicts(found)
    lines = []
    for steps, values in sorted(found.items()):
        cells = [_cell(*values[name]) for name in names]
        lines.append([str(steps), *cells, ", ".join(worse[steps]) or "nothing"])
    enough = min(steps for steps, names in worse.items() if not names)
    figure = (
        f"steps needed for figures within 5 % of {max(found)} DDIM steps, or within "
        "their 95 % interval"
    )
    bar = [figure, "<= 12", str(enough), "met" if enough <= 12 else "**missed**"]
    parts = (
        f"{data['num_photos']} photos of {data['num_people']} people of the split "
        f"`{SPLIT}`; 95 % intervals over people.",
        grid(["steps", *names, "worse than with the most"], lines),
        grid(["figure", "must", "measured", "verdict"], [bar]),
    )
    return "\n\n".join(parts) + "\n"


def _cell(value: float, interval) -> str:
    if interval is None or interval[0] == interval[1]:
        return f"{value:.3g}"
    return f"{value:.3g} ({interval[0]:.3g} to {interval[1]:.3g})"


def draw(found: dict[int, dict], path: pathlib.Path) -> None:
    """A panel a figure, over steps; the band is 5 % round the value at the most."""
    names = list(found[max(found)])
    figure, panels = plt.subplots(
        2, -(-len(names) // 2), figsize=(12, 5), layout="tight", squeeze=False
    )
    for axes, name in zip(panels.flat, names, strict=False):
        steps = sorted(found)
        values = [found[n][name][0] for n in steps]
        axes.plot(steps, values, "o-", ms=4)
        best = values[-1]
        axes.axhspan(*sorted((0.95 * best, 1.05 * best)), color="0.9")
        axes.set(xscale="log", title=name, xlabel="steps")
        axes.set_xticks(steps, [str(n) for n in steps])
        axes.minorticks_off()
        axes.title.set_fontsize(9)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def write(rows: dict[int, dict], out: pathlib.Path) -> None:
    """steps.json, steps.md and steps.png, from the rows of `evaluate`."""
    found = {steps: figures(one["row"]) for steps, one in rows.items()}
    data = next(iter(rows.values()))["data"]
    content = {"data": data, "steps": {str(n): found[n] for n in sorted(found)}}
    (out / "steps.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "steps.md").write_text(to_markdown(found, data))
    draw(found, out / "steps.png")


def main() -> None:
    """Evaluates each number of steps, one after the other, and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", default="runs/records/lfw")
    parser.add_argument("--checkpoint", help="export; default: the embedded one")
    parser.add_argument("--limit", type=int, default=32, help="photos (default: 32)")
    parser.add_argument("--work", default="runs/steps", help="of the evaluations")
    args = parser.parse_args()
    write({steps: evaluate(steps, args) for steps in STEPS}, OUT)


if __name__ == "__main__":
    main()
