"""The recognizers on the untouched photos: what every method is held against."""

import dataclasses

import numpy as np

from id2face_jax.evaluation.context import Context, Outputs
from id2face_jax.evaluation.methods import controls
from id2face_jax.evaluation.metrics import figures, intervals, privacy


@dataclasses.dataclass(frozen=True)
class Clean:
    """A recognizer on the untouched photos: what every method is held against."""

    embeddings: np.ndarray
    calibration: privacy.Calibration
    comparison: privacy.Comparison


def separation(clean: np.ndarray, persons: np.ndarray) -> float:
    """d': genuine minus impostor mean cosine, in mean standard deviations.

    Says how well a recognizer tells people apart where the TAR is saturated.
    """
    calibration = privacy.calibrate(clean, persons)
    comparison = privacy.compare(clean, clean, persons, {})
    centers = (privacy.BINS[:-1] + privacy.BINS[1:]) / 2
    means, variances = [], []
    for counts in (comparison.genuine, calibration.impostors):
        share = counts / max(counts.sum(), 1)
        means.append(share @ centers)
        variances.append(share @ (centers - means[-1]) ** 2)
    return float((means[0] - means[1]) / np.sqrt(max(np.mean(variances), 1e-12)))


def open_clean(context: Context) -> tuple[Outputs, dict[str, Clean]]:
    """The untouched photos as outputs, and every recognizer on them."""
    sources = context.outputs(controls.make_control("identity", context.people))
    persons, clean = context.people.persons, {}
    for name in context.recognizers:
        embeddings = context.embeddings(sources, name)
        calibration = privacy.calibrate(embeddings, persons)
        comparison = privacy.compare(
            embeddings, embeddings, persons, calibration.thresholds
        )
        clean[name] = Clean(embeddings, calibration, comparison)
    return sources, clean


def describe_recognizers(
    context: Context, sources: Outputs, clean: dict[str, Clean]
) -> dict:
    """What to report of every recognizer: thresholds, clean figures, wiring check."""
    persons, seed = context.people.persons, context.people.seed
    reported = {}
    for name, network in context.recognizers.items():
        untouched = clean[name]
        calibration = untouched.calibration
        swapped = context.embeddings(sources, name, swap_channels=True)
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
            "sha256": network.sha256,
            "independent": network.independent,
            "num_impostor_pairs": calibration.num_impostors,
            "separation": separation(untouched.embeddings, persons),
            "separation_swapped_channels": separation(swapped, persons),
        }
    return reported


def main_recognizer(context: Context) -> str:
    """The recognizer for figures that need one: the first independent, or the first."""
    independent = [
        n for n, network in context.recognizers.items() if network.independent
    ]
    return (independent or list(context.recognizers))[0]
