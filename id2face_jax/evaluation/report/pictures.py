"""Which pictures and curves the report shows, taken from the cache.

Owns the choices (best, median and worst faces) and hands arrays to `plots`. Nothing is
measured here that is not in the result already.
"""

import numpy as np
from jaxtyping import Float

from id2face_jax.evaluation.context import Context, Outputs
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics import clean as on_clean
from id2face_jax.evaluation.metrics import gates, privacy, quality
from id2face_jax.evaluation.metrics.figures import far_name
from id2face_jax.evaluation.report import plots

_FACES_EACH = 2  # best, median and worst ones
_GATE_FACES = 4
_UNUSUAL_DIMS = 16  # principal components of the untouched features


def unusualness(
    features: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, " n"]:
    """How far each picture's features lie from those of untouched photos.

    Mahalanobis distance in the reference's main directions; 1 is usual.
    """
    mean = reference.mean(axis=0)
    _, spread, axes = np.linalg.svd(reference - mean, full_matrices=False)
    dims = min(_UNUSUAL_DIMS, len(spread))
    scale = spread[:dims] / np.sqrt(max(len(reference) - 1, 1)) + 1e-6
    z = (features - mean) @ axes[:dims].T / scale
    return np.sqrt(np.mean(z**2, axis=1))


def main_method(methods: list[Method]) -> Method:
    """The method the report is about: the first that must hide faces, or the first."""
    return next((method for method in methods if method.must_hide), methods[0])


def extremes(scores: Float[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Positions of the best (lowest), median and worst scores."""
    order = np.argsort(scores, kind="stable")
    each = min(_FACES_EACH, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    return {
        "best": order[:each],
        "median": order[middle : middle + each],
        "worst": order[::-1][:each],
    }


def grid(
    context: Context, methods: list[Method], picked: dict[str, np.ndarray]
) -> bytes:
    """Source and every method's output for the picked faces."""
    rows = np.concatenate(list(picked.values()))
    columns = {"source": context.people.images(rows)}
    for method in methods:
        if method.name != "identity":
            crops = context.outputs(method).crops
            columns[method.name] = crops.rows("crops", rows)
    labels = [name for name, positions in picked.items() for _ in positions]
    return plots.picture_grid(columns, labels)


def by_privacy(context: Context, methods: list[Method], clean: dict) -> bytes:
    """Grid of faces by the cosine that the main method left to the source."""
    recognizer = on_clean.main_recognizer(context)
    outputs = context.outputs(main_method(methods))
    cosine = privacy.own_cosine(
        context.embeddings(outputs, recognizer), clean[recognizer].embeddings
    )
    return grid(context, methods, extremes(cosine))


def by_quality(context: Context, methods: list[Method], sources: Outputs) -> bytes:
    """Grid of faces by how unusual the main method's picture is."""
    outputs = context.outputs(main_method(methods))
    rows = quality.set_rows(context.people)
    scores = unusualness(
        context.features(outputs, rows), context.features(sources, rows)
    )
    picked = {name: rows[at] for name, at in extremes(scores).items()}
    return grid(context, methods, picked)


def histograms(context: Context, method: Method, clean: dict) -> bytes:
    """Genuine, impostor and anonymized scores of one method, by every recognizer."""
    parts, limits = {}, {}
    outputs = context.outputs(method)
    for name, untouched in clean.items():
        calibration = untouched.calibration
        limits[name] = calibration.thresholds[min(privacy.FARS)]
        embeddings = context.embeddings(outputs, name)
        compared = privacy.compare(
            embeddings,
            untouched.embeddings,
            context.people.persons,
            calibration.thresholds,
        )
        own = privacy.own_cosine(embeddings, untouched.embeddings)
        parts[name] = {
            "untouched, same person": untouched.comparison.genuine,
            "untouched, different people": calibration.impostors,
            f"{method.name}, same person": compared.genuine,
            f"{method.name}, its own source": privacy.histogram(own),
        }
    return plots.score_histograms(parts, limits)


def det(context: Context, methods: list[Method], clean: dict) -> bytes:
    """DET curves of all methods, by every recognizer."""
    curves: dict[str, dict] = {}
    for name, untouched in clean.items():
        curves[name] = {}
        for method in methods:
            compared = privacy.compare(
                context.embeddings(context.outputs(method), name),
                untouched.embeddings,
                context.people.persons,
                {},
            )
            curves[name][method.name] = privacy.det_curve(
                compared.genuine, untouched.calibration.impostors
            )
    return plots.det_curves(curves)


def gate_grid(context: Context, generator: Generator) -> bytes:
    """Gate maps of a few faces, early, midway and late in the denoising."""
    num = len(context.people)
    rows = np.unique(np.linspace(0, num - 1, min(_GATE_FACES, num)).astype(int))
    batch = context.people.batch(rows)
    maps = gates.gate_maps(generator, batch)
    return plots.heat_grid(batch.images, maps, [f"t = {t:g}" for t in gates.TIMES])


def fairness(result: dict, method: Method, recognizer: str) -> bytes:
    """Detection and recognition of one method by bins."""
    row = next(row for row in result["rows"] if row["method"] == method.name)
    return plots.fairness_bars(
        row, recognizer, f"tar_far_{far_name(max(privacy.FARS))}"
    )
