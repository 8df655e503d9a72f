"""The evaluation in its order: calibrate, measure each method, say whether it passed.

Owns the outline of the result; every figure is made in `metrics`.
"""

import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

import id2face_jax
from id2face_jax.evaluation.context import Context, Outputs
from id2face_jax.evaluation.methods.generator import GENERATOR, Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics import (
    attacks,
    diversity,
    fairness,
    figures,
    intervals,
    interventions,
    privacy,
    quality,
)
from id2face_jax.evaluation.metrics.clean import (
    Clean,
    describe_recognizers,
    main_recognizer,
    open_clean,
)
from id2face_jax.evaluation.models import perceptual
from id2face_jax.evaluation.report import verdict

SCHEMA_VERSION = "1.2"
_VERSIONS = ("jax", "numpy", "scipy", "scikit-learn", "scikit-image", "onnxruntime")


def make_row(
    context: Context,
    method: Method,
    sources: Outputs,
    clean: dict[str, Clean],
    bins: dict[str, dict[str, np.ndarray]],
    with_attacks: bool,
) -> dict:
    """One row of the table: every figure of one method."""
    people, recognizer = context.people, main_recognizer(context)
    outputs = context.outputs(method)
    out = figures.Figures()
    out.fields |= {"method": method.name, "meaning": method.meaning}
    out.fields["recognizers"] = {}
    for name, untouched in clean.items():
        embeddings = context.embeddings(outputs, name)
        out.fields["recognizers"][name] = figures.recognizer_figures(
            privacy.compare(
                embeddings,
                untouched.embeddings,
                people.persons,
                untouched.calibration.thresholds,
            ),
            privacy.own_cosine(embeddings, untouched.embeddings),
            untouched.comparison,
            untouched.calibration,
            people.persons,
            people.seed,
        )
    out.fields["states"] = figures.states(outputs)
    figures.utility_figures(out, context, outputs, sources)
    figures.quality_figures(out, context, outputs, sources)
    impostors = clean[recognizer].calibration.impostors
    diversity.put_figures(out, context, outputs, impostors, recognizer)
    out.fields["fairness"] = fairness.by_bins(context, outputs, clean, bins)
    if with_attacks:
        out.fields["attacks"] = attacks.attack(context, outputs, recognizer)
    else:
        out.skip("attacks", "no --attacks given")
    out.fields["repeat_max_difference"] = context.repeat_difference(outputs)
    out.fields["failures"] = verdict.row_failures(out.fields, method.must_hide)
    return out.fields


def describe_data(context: Context, path: str, split: str) -> dict:
    """Who was evaluated, in numbers."""
    people = context.people
    photos = np.bincount(people.persons)
    return {
        "path": path,
        "split": split,
        "num_photos": len(people),
        "num_people": len(people.names),
        "num_people_with_pairs": int(np.sum(photos > 1)),
        "num_queries": int(photos[photos > 1].sum()),
        "crop_size": people.size,
        "fingerprint": people.fingerprint,
    }


def describe_model(
    context: Context,
    generator: Generator,
    methods: Sequence[Method],
    sources: Outputs,
    with_attacks: bool,
) -> dict:
    """Which weights, how they were sampled, what follows what, and what leaks."""
    drawing = [m for m in methods if m.name in GENERATOR and m.draws_identity]
    return {
        "sha256": generator.sha256,
        "num_steps": generator.num_steps,
        "angle": generator.angle,
        "interventions": (
            interventions.measure(context, drawing[0], sources) if drawing else None
        ),
        "attribute_leak": (
            attacks.attribute_leak(context, generator, sources)
            if with_attacks
            else None
        ),
    }


def evaluate(
    context: Context,
    methods: list[Method],
    generator: Generator | None,
    *,
    path: str,
    split: str,
    with_attacks: bool,
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> dict:
    """The whole result, ready for JSON; see docs/evaluation.md for the fields.

    Args:
      context: people, networks and cache.
      methods: the rows, in order.
      generator: of the methods that have one.
      path, split: where the people are from, for the record.
      with_attacks: also measure adapted attackers.
      left_out: methods that a reader would look for, and why they are not measured.
    """
    sources, clean = open_clean(context)
    recognizers = describe_recognizers(context, sources, clean)
    bins = fairness.make_bins(context, sources)
    rows = [
        make_row(context, method, sources, clean, bins, with_attacks)
        for method in methods
    ]
    failures = [
        failure
        for name, fields in recognizers.items()
        for failure in verdict.recognizer_failures(name, fields)
    ] + [failure for row in rows for failure in row["failures"]]
    return {
        "schema_version": SCHEMA_VERSION,
        "passed": not failures,
        "failures": failures,
        "data": describe_data(context, path, split),
        "seed": context.people.seed,
        "interval_level": intervals.LEVEL,
        "frechet": {
            "features": perceptual.VGG_FEATURES,
            "reference": "the same faces, untouched",
            "num_photos": min(len(context.people), quality.MAX_SET_FACES),
        },
        "diversity": {
            "recognizer": main_recognizer(context),
            "identities_a_face": diversity.NUM_IDENTITIES,
            "max_faces": diversity.MAX_FACES,
        },
        "model": generator
        and describe_model(context, generator, methods, sources, with_attacks),
        "versions": {
            "id2face_jax": id2face_jax.__version__,
            "python": platform.python_version(),
        }
        | {name: importlib.metadata.version(name) for name in _VERSIONS},
        "recognizers": recognizers,
        "rows": rows,
        "left_out": dict(left_out),
    }


def print_states(result: dict) -> None:
    """What became of the photos, one line for each method where that varies."""
    for row in result["rows"]:
        if row["states"]:
            counts = ", ".join(f"{num} {name}" for name, num in row["states"].items())
            print(f"{row['method']}: {counts}")


def print_failures(result: dict) -> None:
    """Each failure, one line on stderr."""
    for failure in result["failures"]:
        print(f"id2face evaluate: FAILED: {failure}", file=sys.stderr)
