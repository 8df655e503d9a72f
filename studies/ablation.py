"""Trains ID2Face without each of its parts, and tables what that costs.

.venv/bin/python -m studies.ablation --recognizer mobilefacenet-ms1m.onnx \
    --pose fsanet-1x1.onnx --pose fsanet-var.onnx --expression expression.onnx

Arguments that are not its own go to `id2face evaluate`: its networks, --limit. Every
cell is `id2face train`, `export` and `evaluate --split validation`; what is done is
kept in --work, and the same command goes on from there (other networks: another
--work). Writes table.md, with what the numbers say in words, and ablation.json.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import ml_collections

from id2face_jax.evaluation.report.tables import cell, grid
from id2face_jax.generation import exports

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "ablation"


CONFIG = "configs/ablation.py"
# What is trained: name to what the table calls it, and fields of the config.
CELLS = {
    "full": ("all parts", {}),
    "seed-1": ("all parts, another seed", {"seed": 1}),
    "no-portrait": ("- template", {"model.portrait": False}),
    "no-adversary": ("- adversary", {"loss.identity_leak": 0.0}),
    "no-masking": ("- masking", {"model.masked": False}),
    "no-pairs": ("- same-identity pairs", {"data.pair_prob": 0.0}),
    "no-gate": ("- gate (plain sum)", {"model.harmonizer": "sum"}),
    "no-vae": ("- IVAE (Gaussian)", {"model.identity_space": "gaussian"}),
    "no-alignment": (
        "- alignment, both sides",
        {"loss.attribute_alignment": 0.0, "loss.identity_alignment": 0.0},
    ),
}
# What needs no training: methods of `evaluate`, angle in degrees, name in the table.
SAMPLED = (
    ("id2face", 90, "OIM on the embedding, 90°"),
    ("latent", 90, "OIM on the latent, 90°"),
    ("no-oim", 90, "- OIM"),
    ("null", 90, "no identity at all"),
    ("own", 90, "the source's own identity"),
    ("id2face", 60, "OIM on the embedding, 60°"),
    ("id2face", 120, "OIM on the embedding, 120°"),
)
SHIPPED = "shipped"
# Half the compilation, which takes as long as a cell trains; no figure depends on it.
QUICK_COMPILE = (
    "--xla_llvm_disable_expensive_passes=true --xla_backend_optimization_level=1"
)
HELD_OUT_BATCHES = 12
# Field, heading, scale, digits.
LEAK = ("cosine", "identity read from the attributes, cosine", 1, 3)
PRIVACY = (
    ("cosine_mean", "cosine to source", 1, 3),
    ("tar_far_1e-2", "TAR @ 1 %", 100, 1),
)
UTILITY = (
    ("identity_control_top1", "asked identity nearest %", 100, 1),
    ("landmark_error_pct", "landmarks %", 1, 2),
    ("pose_error_deg", "pose °", 1, 2),
    ("expression_overlap", "expression overlap", 1, 3),
    ("frechet_distance", "Fréchet", 1, 2),
)


def id2face(verb: str, *arguments: object) -> None:
    """Runs one verb of the command in a process of its own.

    Raises CalledProcessError; 3 of `evaluate` is an answer: measured, and failed.
    """
    command = [sys.executable, "-m", "id2face_jax.cli", verb, *map(str, arguments)]
    print("+ id2face", verb, *arguments, flush=True)
    environment = {"XLA_FLAGS": QUICK_COMPILE} | os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment)
    if done.returncode not in (0, 3 if verb == "evaluate" else 0):
        raise subprocess.CalledProcessError(done.returncode, command)


def train(work: pathlib.Path, records: str, name: str) -> pathlib.Path:
    """The export of a cell, trained if it is not there."""
    run, export = work / name / "run", work / name / "export"
    if not export.is_dir():
        fields = {"data.records": records} | CELLS[name][1]
        overrides = [f"--config.{key}={value}" for key, value in fields.items()]
        id2face("train", "--config", CONFIG, "--workdir", run, *overrides)
        id2face("export", "--checkpoint", run, "--out", export)
    return export


def evaluate(out: pathlib.Path, records: str, rest: list[str], *arguments) -> dict:
    """The result of `id2face evaluate` on the validation people, made or read.

    All share one cache, so the untouched photos are looked at once.
    """
    if not (out / "evaluation.json").is_file():
        out.mkdir(parents=True, exist_ok=True)
        cache = out.parents[1] / "cache"
        cache.mkdir(exist_ok=True)
        if not (out / "cache").is_symlink():
            (out / "cache").symlink_to(cache)
        given = ("--out", out, "--split", "validation", *arguments, *rest)
        id2face("evaluate", records, *given)
    return json.loads((out / "evaluation.json").read_text())


def sampled(
    folder: pathlib.Path, export: pathlib.Path | None, records: str, rest: list[str]
) -> dict:
    """{"method angle": row} of SAMPLED. export: None is the shipped one."""
    weights = () if export is None else ("--checkpoint", export)
    rows = {}
    for angle in dict.fromkeys(entry[1] for entry in SAMPLED):
        methods = [entry[0] for entry in SAMPLED if entry[1] == angle]
        given = ("--methods", ",".join(methods), "--strength", angle, *weights)
        out = folder / f"evaluation-{angle}"
        result = evaluate(out, records, rest, *given)
        rows |= {f"{row['method']} {angle}": kept(row) for row in result["rows"]}
    return rows


def held_out_loss(folder: pathlib.Path, export: pathlib.Path, records: str) -> float:
    """Recomposition loss of an export on pairs of validation people, made or read.

    The same pairs, masks, times and noises for every cell, whatever it was trained on.
    """
    path = folder / "held_out.json"
    if not path.is_file():
        import jax
        import numpy as np

        from configs import ablation
        from id2face_jax.data import pairs, pipeline
        from id2face_jax.training import objectives

        saved, weights = exports.load_export(export)
        config = ml_collections.ConfigDict(saved).copy_and_resolve_references()
        config.data = ablation.get_config().data
        config.data.records = records
        config.loss.asked_identity = config.loss.source_identity = 0.0
        objective = objectives.make_recomposition(config)
        frozen = {"autoencoder": weights["autoencoder"]}
        loss = jax.jit(objective.loss)
        source = pipeline.open_source(config, pairs.HELDOUT)
        batches = pipeline.make_train_iterator(config, source=source)
        values = []
        for index in range(HELD_OUT_BATCHES):
            batch = next(batches)
            draws = objective.draw(jax.random.key(index), batch)
            terms = loss(weights["model"], frozen, batch, draws)[1]
            values.append(float(terms["recomposition"]))
        path.write_text(json.dumps({"recomposition": float(np.mean(values))}) + "\n")
    return json.loads(path.read_text())["recomposition"]


def _weights_name() -> str:
    """A name for the shipped weights that changes when they do."""
    files = sorted((ROOT / "id2face_jax/pretrained/lfw128").rglob("*"))
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.read_bytes())
    return f"{SHIPPED}-{digest.hexdigest()[:8]}"


def measure(arguments: argparse.Namespace, rest: list[str]) -> dict:
    """Everything that is asked for or done before, as ablation.json holds it."""
    work, records = arguments.work, arguments.records
    result = {"cells": {}, "sampled": {}}
    if SHIPPED in arguments.cells:
        rows = sampled(work / _weights_name(), None, records, rest)
        result["sampled"][SHIPPED] = rows
    for name in CELLS:
        folder = work / name
        done = (folder / "held_out.json").is_file()
        if not done and name not in arguments.cells:
            continue
        export = train(work, records, name)
        given = ("--methods", "id2face", "--attacks", "--checkpoint", export)
        made = evaluate(folder / "evaluation", records, rest, *given)
        result["cells"][name] = {
            "row": kept(made["rows"][0]),
            "attribute_leak": made["model"]["attribute_leak"],
            "recomposition": held_out_loss(folder, export, records),
        }
        result["data"] = made["data"]
        if name == "full":
            result["sampled"]["full"] = sampled(folder, export, records, rest)
    return result


def kept(row: dict) -> dict:
    """The figures of a row that the tables show, with their intervals."""

    def of(fields, names):
        intervals = {k: v for k, v in fields["intervals"].items() if k in names}
        return {name: fields[name] for name in names} | {"intervals": intervals}

    figures = {
        name: of(fields, [field for field, *_ in PRIVACY])
        for name, fields in row["recognizers"].items()
    }
    return of(row, [field for field, *_ in UTILITY]) | {"recognizers": figures}


def _figures(row: dict) -> list[str]:
    figures = [
        cell(fields, field, scale, digits)
        for fields in row["recognizers"].values()
        for field, _, scale, digits in PRIVACY
    ]
    return figures + [cell(row, name, *form) for name, _, *form in UTILITY]


def _headings(row: dict) -> list[str]:
    names = row["recognizers"]
    figures = [f"{what}, {name}" for name in names for _, what, *_ in PRIVACY]
    return figures + [heading for _, heading, *_ in UTILITY]


def _every_figure(found: dict):
    """(heading, value, interval, form) of each figure of a cell that has them all."""
    row = found["row"]
    parts = [("", found["attribute_leak"]["dlib"]["attributes"], (LEAK,))]
    parts += [(f", {k}", fields, PRIVACY) for k, fields in row["recognizers"].items()]
    for suffix, fields, forms in [*parts, ("", row, UTILITY)]:
        for field, heading, *form in forms:
            if field in fields["intervals"]:
                interval = fields["intervals"][field]
                yield heading + suffix, fields[field], interval, form


def findings(result: dict) -> str:
    """What stands out against the full cell, a line a part.

    A change counts when the two intervals are apart and it is over twice what another
    seed changes: intervals are over people, and do not hold the luck of a run.
    """
    cells = result["cells"]
    if not {"full", "seed-1"} <= set(cells):
        return "Nothing can be said before the cells full and seed-1 are done."
    full = {heading: rest for heading, *rest in _every_figure(cells["full"])}
    again = {heading: rest for heading, *rest in _every_figure(cells["seed-1"])}
    lines = []
    for name in cells.keys() - {"full", "seed-1"}:
        changes = []
        for heading, value, (low, high), (scale, digits) in _every_figure(cells[name]):
            before, (least, most), _ = full[heading]
            luck = abs(again[heading][0] - before)
            if (low > most or high < least) and abs(value - before) > 2 * luck:
                before, after = (f"{x * scale:.{digits}f}" for x in (before, value))
                changes.append(f"{heading} {before} to {after}")
        told = "; ".join(changes) or "nothing that stands out from people and seed"
        lines.append(f"- {CELLS[name][0].lstrip('- ')}: {told}")
    return "Without the part, from the full cell's figure to its own:\n\n" + "\n".join(
        sorted(lines)
    )


def to_markdown(result: dict) -> str:
    """table.md: what was trained without a part, what stands out, what was sampled."""
    parts, lines = [], []
    if result["cells"]:
        for name, found in result["cells"].items():
            leak = found["attribute_leak"]["dlib"]
            read = (
                cell(leak["attributes"], LEAK[0], *LEAK[2:]),
                cell(leak, "cosine_share", 100, 0),
            )
            loss = f"{found['recomposition']:.4f}"
            lines.append([CELLS[name][0], loss, *read, *_figures(found["row"])])
        head = ["trained", "recomposition", "leak, cosine", "leak, % of the photo's"]
        parts += [
            "## Trained without a part",
            grid([*head, *_headings(found["row"])], lines),
            "## What stands out",
            findings(result),
        ]
    for weights, rows in result["sampled"].items():
        lines = [
            [title, *_figures(rows[f"{method} {angle}"])]
            for method, angle, title in SAMPLED
        ]
        table = grid(["sampled", *_headings(next(iter(rows.values())))], lines)
        parts += [f"## Sampled otherwise: the {weights} weights", table]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Trains and measures what is missing, then writes what there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", default="runs/records/lfw")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "runs/ablation")
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    parser.add_argument(
        "--cells",
        type=lambda text: text.split(","),
        default=[*CELLS, SHIPPED],
        help=f"default: {','.join(CELLS)},{SHIPPED}",
    )
    arguments, rest = parser.parse_known_args()
    arguments.work = arguments.work.absolute()
    # One for all cells: some differ in their data alone, and share the program.
    compiled = str(arguments.work / "compiled")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", compiled)
    result = measure(arguments, rest)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (arguments.out / "ablation.json").write_text(text)
    (arguments.out / "table.md").write_text(to_markdown(result))


if __name__ == "__main__":
    main()
