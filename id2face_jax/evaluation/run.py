"""The evaluation, told once: open, calibrate, measure each method, judge, write.

Owns the order of things and the result's outline; every figure is made elsewhere.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import platform
import sys

import numpy as np

import id2face_jax
from id2face_jax.evaluation import (
    attacks,
    diversity,
    fairness,
    figures,
    intervals,
    perceptual,
    privacy,
    quality,
    verdict,
)
from id2face_jax.evaluation.bench import Bench, Outputs
from id2face_jax.evaluation.methods import Generator, Method, make_control

SCHEMA_VERSION = "1.1"
_VERSIONS = ("jax", "numpy", "scipy", "scikit-learn", "scikit-image", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Clean:
    """A recogniser on the untouched photos: what every method is held against."""

    embeddings: np.ndarray
    calibration: privacy.Calibration
    comparison: privacy.Comparison


def separation(clean: np.ndarray, persons: np.ndarray) -> float:
    """d': genuine minus impostor mean cosine, in mean standard deviations.

    Says how well a recogniser tells people apart where the TAR is saturated.
    """
    calibration = privacy.calibrate(clean, persons)
    comparison = privacy.compare(clean, clean, persons, {})
    centres = (privacy.BINS[:-1] + privacy.BINS[1:]) / 2
    means, variances = [], []
    for counts in (comparison.genuine, calibration.impostors):
        share = counts / max(counts.sum(), 1)
        means.append(share @ centres)
        variances.append(share @ (centres - means[-1]) ** 2)
    return float((means[0] - means[1]) / np.sqrt(max(np.mean(variances), 1e-12)))


def open_clean(bench: Bench) -> tuple[Outputs, dict[str, Clean]]:
    """The untouched photos as outputs, and every recogniser on them."""
    sources = bench.outputs(make_control("identity", bench.people))
    persons, clean = bench.people.persons, {}
    for name in bench.recognizers:
        embeddings = bench.embeddings(sources, name)
        calibration = privacy.calibrate(embeddings, persons)
        comparison = privacy.compare(
            embeddings, embeddings, persons, calibration.thresholds
        )
        clean[name] = Clean(embeddings, calibration, comparison)
    return sources, clean


def describe_recognizers(
    bench: Bench, sources: Outputs, clean: dict[str, Clean]
) -> dict:
    """What to report of every recogniser: thresholds, clean figures, wiring check."""
    persons, seed = bench.people.persons, bench.people.seed
    reported = {}
    for name, judge in bench.recognizers.items():
        untouched = clean[name]
        calibration = untouched.calibration
        swapped = bench.embeddings(sources, name, swap_channels=True)
        limits = privacy.calibrate(swapped, persons).thresholds
        swapped_comparison = privacy.compare(swapped, swapped, persons, limits)
        out = figures.Figures()
        for far, threshold in calibration.thresholds.items():
            label = figures.far_name(far)
            out.fields[f"threshold_far_{label}"] = threshold
            for title, accepted in (
                ("clean_tar", untouched.comparison.accepted[far]),
                ("clean_tar_swapped", swapped_comparison.accepted[far]),
            ):
                out.put(
                    f"{title}_far_{label}",
                    intervals.mean_over_people(accepted, persons, seed, is_share=True),
                    f"{calibration.num_impostors} impostor pairs are too few",
                )
        reported[name] = out.fields | {
            "sha256": judge.sha256,
            "independent": judge.independent,
            "num_impostor_pairs": calibration.num_impostors,
            "separation": separation(untouched.embeddings, persons),
            "separation_swapped_channels": separation(swapped, persons),
        }
    return reported


def chief_judge(bench: Bench) -> str:
    """The recogniser for figures that need one: the first independent, or the first."""
    independent = [n for n, judge in bench.recognizers.items() if judge.independent]
    return (independent or list(bench.recognizers))[0]


def make_row(
    bench: Bench,
    method: Method,
    sources: Outputs,
    clean: dict[str, Clean],
    bins: dict[str, dict[str, np.ndarray]],
    with_attacks: bool,
) -> dict:
    """One row of the table: every figure of one method."""
    people, judge = bench.people, chief_judge(bench)
    outputs = bench.outputs(method)
    out = figures.Figures()
    out.fields |= {"method": method.name, "meaning": method.meaning}
    out.fields["recognizers"] = {}
    for name, untouched in clean.items():
        embeddings = bench.embeddings(outputs, name)
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
    figures.utility_figures(out, bench, outputs, sources)
    figures.quality_figures(out, bench, outputs, sources)
    impostors = clean[judge].calibration.impostors
    diversity.put_figures(out, bench, outputs, impostors, judge)
    out.fields["fairness"] = fairness.by_bins(bench, outputs, clean, bins)
    if with_attacks:
        out.fields["attacks"] = attacks.attack(bench, outputs, judge)
    else:
        out.skip("attacks", "no --attacks given")
    out.fields["repeat_max_difference"] = bench.repeat_difference(outputs)
    out.fields["failures"] = verdict.row_failures(out.fields, method.must_hide)
    return out.fields


def describe_data(bench: Bench, path: str, split: str) -> dict:
    """Who was evaluated, in numbers."""
    people = bench.people
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
    bench: Bench, generator: Generator, sources: Outputs, with_attacks: bool
) -> dict:
    """Which weights, how they were sampled, and what their attribute latent leaks."""
    return {
        "sha256": generator.sha256,
        "num_steps": generator.num_steps,
        "angle": generator.angle,
        "attribute_leak": (
            attacks.attribute_leak(bench, generator, sources) if with_attacks else None
        ),
    }


def evaluate(
    bench: Bench,
    methods: list[Method],
    generator: Generator | None,
    *,
    path: str,
    split: str,
    with_attacks: bool,
) -> dict:
    """The whole result, ready for JSON; see docs/evaluation.md for the fields.

    Args:
      bench: people, judges and cache.
      methods: the rows, in order.
      generator: of the methods that have one.
      path, split: where the people are from, for the record.
      with_attacks: also measure adapted attackers.
    """
    sources, clean = open_clean(bench)
    recognizers = describe_recognizers(bench, sources, clean)
    bins = fairness.make_bins(bench, sources)
    rows = [
        make_row(bench, method, sources, clean, bins, with_attacks)
        for method in methods
    ]
    failures = [
        failure
        for name, judge in recognizers.items()
        for failure in verdict.judge_failures(name, judge)
    ] + [failure for row in rows for failure in row["failures"]]
    return {
        "schema_version": SCHEMA_VERSION,
        "passed": not failures,
        "failures": failures,
        "data": describe_data(bench, path, split),
        "seed": bench.people.seed,
        "interval_level": intervals.LEVEL,
        "frechet": {
            "features": perceptual.VGG_FEATURES,
            "reference": "the same faces, untouched",
            "num_photos": min(len(bench.people), quality.MAX_SET_FACES),
        },
        "diversity": {
            "recognizer": chief_judge(bench),
            "identities_a_face": diversity.NUM_IDENTITIES,
            "max_faces": diversity.MAX_FACES,
        },
        "model": generator and describe_model(bench, generator, sources, with_attacks),
        "versions": {
            "id2face_jax": id2face_jax.__version__,
            "python": platform.python_version(),
        }
        | {name: importlib.metadata.version(name) for name in _VERSIONS},
        "recognizers": recognizers,
        "rows": rows,
    }


def write_json(result: dict, path: pathlib.Path) -> None:
    """Writes the result; NaN and infinity are bugs here, and raise."""
    text = json.dumps(result, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def tell_failures(result: dict) -> None:
    """Each failure, one line on stderr."""
    for failure in result["failures"]:
        print(f"id2face evaluate: FAILED: {failure}", file=sys.stderr)
