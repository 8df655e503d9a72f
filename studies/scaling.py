"""Makes docs/scaling.md's tables and plots anew: .venv/bin/python -m studies.scaling

Runs `id2face plan` for what plans.jsonl lacks (minutes each; delete lines to plan them
again), and writes tables.md and the two pictures from it. Needs the extra `plan`.
"""

import json
import pathlib
import subprocess
import sys

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "scaling"
PLANS = OUT / "plans.jsonl"
# Pairs of a step, the most wanted first. Those on 64 v5p and 256 v5e chips are the
# config's own batch; on other numbers of v5p chips each has as many pairs.
RUNS = (
    ("ffhq512", "v5p:4x4x4", 512),
    ("ffhq512", "v5e:16x16", 512),
    ("ffhq512", "v5p:2x2x4", 128),
    ("ffhq512", "v5p:8x8x8", 4096),
    ("celebahq256", "v5e:16x16", 256),
    ("celebahq256", "v5p:4x4x4", 256),
    ("celebahq256", "v5p:2x2x4", 64),
    ("celebahq256", "v5p:8x8x8", 2048),
    ("ffhq512", "h100:2x8", 128),
    ("celebahq256", "h100:2x8", 64),
)
EFFORT = -0.5  # for TPUs; with XLA's own a plan takes hours of a core
CLASSES = ("params", "optimizer", "EMA", "frozen", "activations")
HEAD = (
    "topology | chips | data x fsdp | pairs | attention | HBM used / chip | "
    "step, XLA's estimate | roofline | MFU, XLA's estimate | MFU, roofline | hours"
)


def read_plans() -> dict:
    """{(config, topology, batch): plan} of plans.jsonl."""
    lines = PLANS.read_text().splitlines() if PLANS.exists() else []
    plans = [json.loads(line) for line in lines]
    return {(x["config"], x["topology"], x["batch"]): x for x in plans}


def plan(config: str, topology: str, batch: int) -> dict | None:
    """What `id2face plan` says; 3 means that it does not fit, which is an answer."""
    command = [sys.executable, "-m", "id2face_jax.cli", "plan", "--json"]
    command += ["--only", "step", "--config", f"configs/{config}.py"]
    command += ["--topology", topology, "--batch", str(batch)]
    command += [] if topology.startswith("h100") else ["--effort", str(EFFORT)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3):
        print(f"not planned: {config} on {topology}", file=sys.stderr)
        return None
    return json.loads(done.stdout) | {"config": config}


def row(x: dict) -> str:
    """A line of a table."""

    def seconds(value):
        return "-" if value is None else f"{value:.2f} s"

    def percent(value):
        return "-" if value is None else f"{100 * value:.0f} %"

    used, capacity = x["hbm_used_bytes"] / 1e9, x["hbm_bytes"] / 1e9
    verdict = "" if x["fits"] else ", does not fit"
    given = x["xla_seconds"] is not None
    left_out = f", {x['num_unknown']} operations left out" if x["num_unknown"] else ""
    cells = [
        x["topology"],
        str(x["num_chips"]),
        f"{x['mesh']['data']} x {x['mesh']['fsdp']}",
        str(x["batch"]),
        "splash" if x.get("kernel_seconds") else "XLA's",  # older lines lack the field
        f"{used:.1f} of {capacity:.0f} GB{verdict}",
        seconds(x["xla_seconds"]) + left_out,
        seconds(x["roofline_seconds"] or None),
        percent(x["mfu"] if given else None),
        percent(x["roofline_mfu"]),
        "-" if x["hours"] is None else f"{x['hours']:.1f}",
    ]
    return " | ".join(cells)


def write_tables(plans: dict) -> None:
    """tables.md: a table a config."""
    text = []
    for config in dict.fromkeys(run[0] for run in RUNS):
        found = [plans[run] for run in RUNS if run[0] == config and run in plans]
        text += [f"## {config}\n", f"| {HEAD} |", "|---" * 11 + "|"]
        text += [f"| {row(x)} |" for x in found] + [""]
    (OUT / "tables.md").write_text("\n".join(text))


def draw_memory(plans: dict) -> None:
    """memory.png: HBM by class against the chip's."""
    found = [plans[run] for run in RUNS if run in plans]
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(found) + 1.5), layout="tight")
    names = [f"{x['config']}, {x['topology']}, {x['batch']} pairs" for x in found]
    left = [0.0] * len(found)
    for name in CLASSES:
        widths = [100 * x["memory"].get(name, 0) / x["hbm_bytes"] for x in found]
        axes.barh(names, widths, left=left, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.axvline(100, color="black", linewidth=1)
    axes.set_xlabel("% of a chip's HBM")
    axes.invert_yaxis()
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}
    axes.legend(ncols=len(CLASSES), fontsize=8, **above)
    figure.savefig(OUT / "memory.png", dpi=120)


def draw_scaling(plans: dict) -> None:
    """scaling.png: step time and MFU against v5p chips, pairs a chip held."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="tight")
    for config in dict.fromkeys(run[0] for run in RUNS):
        found = [
            plans[run]
            for run in RUNS
            if run[0] == config and run[1].startswith("v5p") and run in plans
        ]
        found = sorted((x for x in found if x["fits"]), key=lambda x: x["num_chips"])
        if not found:
            continue
        num_chips = [x["num_chips"] for x in found]
        left.plot(num_chips, [x["xla_seconds"] for x in found], "o-", label=config)
        right.plot(num_chips, [100 * x["mfu"] for x in found], "o-", label=config)
    right.axhline(45, color="black", linewidth=1, linestyle=":")  # the goal
    for axes, title in ((left, "step, s (XLA's estimate)"), (right, "MFU, %")):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set(xlabel="v5p chips", title=title, ylim=(0, None))
        axes.legend()
    figure.savefig(OUT / "scaling.png", dpi=120)


def main() -> None:
    """Plans what is missing, one at a time, and draws after each."""
    for run in RUNS:
        if run not in read_plans() and (found := plan(*run)):
            with PLANS.open("a") as file:
                file.write(json.dumps(found) + "\n")
        if plans := read_plans():
            write_tables(plans)
            draw_memory(plans)
            draw_scaling(plans)


if __name__ == "__main__":
    main()
