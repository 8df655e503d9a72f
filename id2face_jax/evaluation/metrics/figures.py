"""From arrays to the figures of one row of the table, each with its interval.

Owns the names of the fields (`docs/evaluation.md`). A figure that could not be
measured is None and says why under "not_measured"; none is left out silently.
"""

import dataclasses

import numpy as np

from id2face_jax.evaluation.context import BUILT_IN, Context, Outputs
from id2face_jax.evaluation.metrics import intervals, privacy, quality, utility

UNTOUCHED_CHANGE = 2.0  # gray levels of 255 inside the mask: below, a face is as it was


class Figures:
    """Named figures of one thing: values, intervals and counts side by side."""

    def __init__(self):
        self.fields: dict = {"intervals": {}, "counts": {}, "not_measured": {}}

    def put(self, name: str, figure: intervals.Figure, why: str = "no face had it"):
        """Adds one; `why` is told where it has no value."""
        self.fields[name] = figure.value
        if figure.value is None:
            self.skip(name, why)
            return
        if figure.interval is not None:
            self.fields["intervals"][name] = list(figure.interval)
        self.fields["counts"][name] = [figure.num, figure.num_people]

    def skip(self, name: str, why: str):
        """States that a figure was not measured, and why."""
        self.fields[name] = None
        self.fields["not_measured"][name] = why


def far_name(far: float) -> str:
    """1e-3 to "1e-3", as the fields are called."""
    return f"{far:.0e}".replace("e-0", "e-")


def recognizer_figures(
    comparison: privacy.Comparison,
    cosine: np.ndarray,
    clean: privacy.Comparison,
    calibration: privacy.Calibration,
    persons: np.ndarray,
    seed: int,
) -> dict:
    """rows[].recognizers.<name>: how often outputs are recognized by one recognizer.

    Args:
      comparison: outputs against the untouched gallery.
      cosine: of each output to its own source.
      clean: untouched photos against the untouched gallery.
      calibration: of the recognizer on these people.
      persons: the person of each photo.
      seed: of the intervals.
    """
    out = Figures()

    def put(name, values, why="no person has a second photo", is_share=True):
        figure = intervals.mean_over_people(values, persons, seed, is_share)
        out.put(name, figure, why)

    for far, threshold in calibration.thresholds.items():
        name = far_name(far)
        few = f"{calibration.num_impostors} impostor pairs are too few for this FAR"
        out.fields[f"threshold_far_{name}"] = threshold
        put(f"clean_tar_far_{name}", clean.accepted[far], few)
        put(f"tar_far_{name}", comparison.accepted[far], few)
        match = np.full(len(cosine), np.nan)
        if threshold is not None:
            match = cosine > threshold
        put(f"source_match_far_{name}", match, few)
    known = ~np.isnan(comparison.rank)
    for rank in (1, 5):
        put(f"rank{rank}", np.where(known, comparison.rank <= rank, np.nan))
        put(f"clean_rank{rank}", np.where(known, clean.rank <= rank, np.nan))
    put("rank1_chance", comparison.chance_rank1)
    put("cosine_mean", cosine, is_share=False)
    out.fields["cosine_std"] = float(np.std(cosine))
    counts, _ = np.histogram(cosine, np.linspace(-1, 1, 41))
    out.fields["cosine_histogram"] = counts.tolist()
    return out.fields


def utility_figures(
    out: Figures, context: Context, outputs: Outputs, sources: Outputs
) -> None:
    """Adds detection, landmarks, pose, expression, light and identity control."""
    people, seed = context.people, context.people.seed
    persons = people.persons

    def put(name, values, is_share=False):
        figure = intervals.mean_over_people(values, persons, seed, is_share)
        out.put(name, figure, "no output has a detectable face")

    faces, before = context.faces(outputs), context.faces(sources)
    found = faces.column("found")
    both = found & before.column("found")
    put("detection_rate", found, is_share=True)
    put(
        "landmark_error_pct",
        utility.landmark_error(
            before.column("landmarks"), faces.column("landmarks"), both
        ),
    )
    if context.second_detector is None:
        out.skip("second_detection_rate", "no --second-detector given")
    else:
        put("second_detection_rate", context.second_found(outputs), is_share=True)
    if context.pose is None:
        out.skip("pose_error_deg", "no --pose given")
    else:
        angles = context.poses(sources, sources), context.poses(outputs, sources)
        put("pose_error_deg", utility.pose_error(*angles, both))
    if context.expression is None:
        out.skip("expression_agreement", "no --expression given")
        out.skip("expression_overlap", "no --expression given")
    else:
        shares = (
            context.expressions(sources, sources),
            context.expressions(outputs, sources),
        )
        agree = utility.expression_figures(*shares, both)
        put("expression_agreement", agree["agreement"], is_share=True)
        put("expression_overlap", agree["overlap"])
    if outputs.method.requested is None:
        out.skip(
            "identity_control_top1",
            "the method does not say which identity it asked for",
        )
    else:
        hits = utility.identity_control(
            context.embeddings(outputs, BUILT_IN),
            context.requested(outputs),
            persons,
            seed,
        )
        put("identity_control_top1", hits, is_share=True)


def states(outputs: Outputs) -> dict[str, int] | None:
    """How many photos came to each state; None where a method has none."""
    if outputs.method.states is None:
        return None
    found = outputs.crops.column("states")
    return {state: int(np.sum(found == state)) for state in outputs.method.states}


def set_figures(
    out: Figures, context: Context, outputs: Outputs, sources: Outputs
) -> None:
    """Adds the distances of the set of outputs to the set of sources."""
    people, seed = context.people, context.people.seed
    rows = quality.set_rows(people)
    persons = people.persons[rows]
    features, reference = (context.features(x, rows) for x in (outputs, sources))
    frechet = quality.FrechetDistance(reference)
    figure = intervals.of_set(lambda drawn: frechet(features[drawn]), persons, seed)
    if figure.interval is not None:  # centering may shift it below what can be
        low, high = figure.interval
        figure = dataclasses.replace(figure, interval=(max(low, 0.0), high))
    out.put("frechet_distance", figure)
    kernel = quality.KernelDistance(features, reference)
    out.put("kernel_distance", intervals.of_set(kernel, persons, seed))


def quality_figures(
    out: Figures, context: Context, outputs: Outputs, sources: Outputs
) -> None:
    """Adds set distances, damage outside of the mask, seam, light, untouched share."""
    people, seed = context.people, context.people.seed
    persons = people.persons
    stage, reference = (quality.of_faces(context, x) for x in (outputs, sources))
    figures = {
        "psnr_outside_db": stage.column("psnr"),
        "ssim_outside": stage.column("ssim"),
        "lpips_outside": stage.column("lpips"),
        "seam_ratio": stage.column("seam"),
    }
    for name in ("brightness", "skin_tone"):
        shift = np.abs(stage.column(name) - reference.column(name))
        figures[f"{name}_shift"] = shift
    for name, values in figures.items():
        out.put(name, intervals.mean_over_people(values, persons, seed))
    untouched = stage.column("change") < UNTOUCHED_CHANGE
    share = intervals.mean_over_people(untouched, persons, seed, is_share=True)
    out.put("untouched_share", share)
    set_figures(out, context, outputs, sources)
    # The first chunk of a run holds the compilation; the median chunk does not. No
    # interval: it says more of the machine than of the people.
    out.fields["seconds_per_face"] = float(np.median(outputs.crops.column("seconds")))
