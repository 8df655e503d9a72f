"""The privacy and detection figures again, for parts of the people.

Owns the bins: head turn, brightness, face size and apparent skin tone, all measured on
the untouched photos, never guessed from a person. Apparent skin tone is a color in a
picture (see utility.light): light and camera are in it, and it names no group.
"""

import numpy as np

from id2face_jax.evaluation.context import Context, Outputs
from id2face_jax.evaluation.metrics import figures, intervals, privacy, quality
from id2face_jax.evaluation.metrics.clean import Clean

# Individual typology angle, degrees (Chardon 1991; Del Bino 2013).
SKIN_TONES = (
    ("dark", -30.0),
    ("brown", 10.0),
    ("tan", 28.0),
    ("intermediate", 41.0),
    ("light", 55.0),
    ("very light", np.inf),
)


def head_turn(landmarks: np.ndarray) -> np.ndarray:
    """(n,) sideways turn: nose off the eyes' middle, as a share of their distance."""
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    across = right - left
    length = np.linalg.norm(across, axis=-1)
    off = np.sum((nose - (left + right) / 2) * across, axis=-1)
    return np.abs(off) / length**2


def _thirds(values: np.ndarray, names: tuple[str, str, str], unit: str):
    """Name to mask of three equally full bins."""
    low, high = np.quantile(values, (1 / 3, 2 / 3))
    return {
        f"{names[0]} (up to {low:.2f} {unit})": values <= low,
        f"{names[1]} (to {high:.2f} {unit})": (values > low) & (values <= high),
        f"{names[2]} (over {high:.2f} {unit})": values > high,
    }


def make_bins(context: Context, sources: Outputs) -> dict[str, dict[str, np.ndarray]]:
    """Axis to bin name to (n,) mask. sources: the untouched photos."""
    people, stage = context.people, quality.of_faces(context, sources)
    if context.pose is not None:
        yaw = np.abs(context.poses(sources, sources)[:, 0])
        turn = _thirds(yaw, ("frontal", "turned", "most turned"), "° yaw")
    else:
        turn = _thirds(
            head_turn(people.landmarks),
            ("frontal", "turned", "most turned"),
            "of the eye distance",
        )
    brightness = stage.column("brightness")
    tone, bins, low = stage.column("skin_tone"), {}, -np.inf
    for name, high in SKIN_TONES:
        bins[f"{name} (ITA to {high:.0f}°)"] = (tone > low) & (tone <= high)
        low = high
    return {
        "pose": turn,
        "brightness": _thirds(brightness, ("dark", "medium", "bright"), "L*"),
        "face_size": _thirds(
            people.eye_distance, ("small", "medium", "large"), "px between the eyes"
        ),
        "skin_tone": {name: mask for name, mask in bins.items() if mask.any()},
    }


def by_bins(
    context: Context,
    outputs: Outputs,
    clean: dict[str, Clean],
    bins: dict[str, dict[str, np.ndarray]],
) -> list[dict]:
    """rows[].fairness: one entry an axis and bin, with its number of photos.

    Thresholds and gallery stay those of all people; queries are the bin's photos.

    Args:
      context, outputs: the method's outputs.
      clean: every recognizer on the untouched photos.
      bins: from `make_bins`.
    """
    people = context.people
    comparisons = {
        name: privacy.compare(
            context.embeddings(outputs, name),
            untouched.embeddings,
            people.persons,
            untouched.calibration.thresholds,
        )
        for name, untouched in clean.items()
    }
    found = context.faces(outputs).column("found")
    entries = []
    for axis, parts in bins.items():
        for part, mask in parts.items():
            out = figures.Figures()
            out.fields |= {"axis": axis, "bin": part, "num_photos": int(mask.sum())}
            figure = intervals.mean_over_people(
                found[mask], people.persons[mask], people.seed, is_share=True
            )
            out.put("detection_rate", figure)
            out.fields["recognizers"] = {
                name: _privacy_of(comparison, clean[name].comparison, mask, people)
                for name, comparison in comparisons.items()
            }
            entries.append(out.fields)
    return entries


def _privacy_of(comparison, clean, mask, people) -> dict:
    out = figures.Figures()

    def put(name, values):
        figure = intervals.mean_over_people(
            values[mask], people.persons[mask], people.seed, is_share=True
        )
        out.put(name, figure, "no query, or too few impostor pairs")

    for far in comparison.accepted:
        label = figures.far_name(far)
        put(f"tar_far_{label}", comparison.accepted[far])
        put(f"clean_tar_far_{label}", clean.accepted[far])
    unknown = np.isnan(comparison.rank)
    put("rank1", np.where(unknown, np.nan, comparison.rank == 1))
    return out.fields
