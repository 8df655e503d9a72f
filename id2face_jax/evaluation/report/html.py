"""report.html: the figures with their pictures, for a privacy officer.

Owns the pictures' sentences: every figure is explained in one, every picture is inside
the file, nothing is loaded from elsewhere. Leaves looks to the template.
"""

import base64
import dataclasses

from id2face_jax.evaluation.context import Context
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics.clean import main_recognizer, open_clean
from id2face_jax.evaluation.report import pictures, plots
from id2face_jax.evaluation.report.sections import sections
from id2face_jax.pages import render


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture and what it shows, in a sentence."""

    png: bytes
    sentence: str

    @property
    def source(self) -> str:
        """The picture as a link that holds it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def summary(result: dict, method: str) -> str:
    """What one method reached, in plain words."""
    row = next(row for row in result["rows"] if row["method"] == method)
    parts = []
    for name, figures in row["recognizers"].items():
        value, clean = figures["tar_far_1e-2"], figures["clean_tar_far_1e-2"]
        if value is None:
            continue
        interval = figures["intervals"].get("tar_far_1e-2", (value, value))
        parts.append(
            f"{name} recognizes a person in {100 * clean:.0f} of 100 comparisons of "
            f"untouched photos, and in {100 * value:.1f} of 100 after {method} "
            f"(95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f}; "
            "1 of 100 is chance)"
        )
    found = f"A face is still found in {100 * row['detection_rate']:.0f} % of pictures."
    if not parts:
        parts = ["There are too few photos to say how often people are recognized"]
    return "; ".join(parts) + ". " + found


def page(
    result: dict, context: Context, methods: list[Method], generator: Generator | None
) -> bytes:
    """The whole of report.html, UTF-8."""
    main = pictures.main_method(methods)
    return render.render(
        "evaluation.html",
        result=result,
        summary=summary(result, main.name),
        groups={
            "Pictures": _faces(context, methods, main),
            "Is the person still recognized?": _scores(result, context, methods, main),
            "Does it work alike for everyone?": _parts(result, context, main),
            "Where the identity enters": _gates(context, generator),
        },
        sections=sections(result),
    )


def _faces(context: Context, methods: list[Method], main: Method) -> list[Picture]:
    recognizer = main_recognizer(context)
    sources, clean = open_clean(context)
    return [
        Picture(
            pictures.by_privacy(context, methods, clean),
            f"Sorted by privacy: for {recognizer}, the faces whose {main.name} picture "
            "is least like its source (best), in the middle, and most like it (worst).",
        ),
        Picture(
            pictures.by_quality(context, methods, sources),
            f"Sorted by quality: faces whose {main.name} picture looks most like an "
            "ordinary photo to VGG16 (best), in the middle, and least (worst).",
        ),
    ]


def _scores(
    result: dict, context: Context, methods: list[Method], main: Method
) -> list[Picture]:
    _, clean = open_clean(context)
    return [
        Picture(
            plots.recognition_bars(result, "tar_far_1e-2", "clean_tar_far_1e-2"),
            "How many of 100 comparisons with other photos of the same person a "
            "recognizer still accepts when 1 of 100 other people gets through: the "
            "dashed line is untouched photos, 1 is chance, lower is more private; "
            "black lines are 95 % intervals.",
        ),
        Picture(
            pictures.histograms(context, main, clean),
            "The more the anonymized scores lie over those of different people, the "
            "more anonymous; right of the dotted line a system with 0.1 % false alarms "
            "calls two photos the same person.",
        ),
        Picture(
            pictures.det(context, methods, clean),
            "For every setting of the recognizer: how many own photos it misses (up is "
            "more private), against how many other people it takes for the person; the "
            "dotted line is blind guessing.",
        ),
    ]


def _parts(result: dict, context: Context, main: Method) -> list[Picture]:
    recognizer = main_recognizer(context)
    return [
        Picture(
            pictures.fairness(result, main, recognizer),
            "Bars of one panel should be equally high: in each part of the photos, how "
            f"often a face is found in the {main.name} picture, and how often "
            f"{recognizer} recognizes the person at 1 % false alarms; N is the number "
            "of photos. Parts are made from the untouched pictures: head turn, light "
            "on the cheeks, face size, and the cheeks' color in the picture "
            "(individual typology angle), which depends on light and camera and names "
            "no group.",
        )
    ]


def _gates(context: Context, generator: Generator | None) -> list[Picture]:
    if generator is None or generator.config.model.harmonizer == "sum":
        return []
    return [
        Picture(
            pictures.gate_grid(context, generator),
            "Bright areas are where the network listens to the new identity, dark ones "
            "where it keeps the photo's own attributes, from the first (left) to the "
            "last steps (right).",
        )
    ]
