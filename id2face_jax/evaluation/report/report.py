"""The three files of a result: evaluation.json, evaluation.md, report.html.

Owns the report's words. It is written for a privacy officer: every figure is explained
in one sentence, every picture is inside the file, nothing is loaded from elsewhere.
"""

import base64
import html
import json
import pathlib

from id2face_jax.evaluation.context import Context
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics.clean import main_recognizer, open_clean
from id2face_jax.evaluation.report import attack_table, markdown, pictures, plots

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66em; margin: 2em auto;
  padding: 0 1em; color: #222; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.2em; }
img { max-width: 100%; display: block; margin: .6em 0; }
table { border-collapse: collapse; font-size: 12px; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .3em .5em; text-align: right;
  vertical-align: top; } td { white-space: nowrap; } small { color: #666; }
th:first-child, td:first-child { text-align: left; }
.verdict { padding: .8em 1.2em; border-radius: .5em; background: #e8f4ea; }
.failed { background: #fbe6e2; } .note { color: #555; } figcaption { color: #333; }
figure { margin: 1.2em 0; }
"""


def _picture(png: bytes, sentence: str) -> str:
    data = base64.b64encode(png).decode()
    caption = html.escape(sentence)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(grid: str) -> str:
    """One of tables.grid's as HTML."""
    lines = [
        [part.strip() for part in line.strip("| ").split(" | ")]
        for line in grid.splitlines()
    ]
    head, body = lines[0], lines[2:]
    cells = [
        "".join(f"<{tag}>{_cell(part)}</{tag}>" for part in line)
        for tag, line in (("th", head), *(("td", line) for line in body))
    ]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _cell(text: str) -> str:
    """A cell's text, the interval on a line of its own."""
    value, bracket, interval = html.escape(text).partition(" (")
    return f"{value}<br><small>({interval}</small>" if bracket else value


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>'


def summary(result: dict, method: str) -> str:
    """What one method reached, in plain words."""
    row = next(row for row in result["rows"] if row["method"] == method)
    parts = []
    for name, judged in row["recognizers"].items():
        value, clean = judged["tar_far_1e-2"], judged["clean_tar_far_1e-2"]
        if value is None:
            continue
        interval = judged["intervals"].get("tar_far_1e-2", (value, value))
        parts.append(
            f"{name} recognises a person in {100 * clean:.0f} of 100 comparisons of "
            f"untouched photos, and in {100 * value:.1f} of 100 after {method} "
            f"(95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f}; "
            "1 of 100 is chance)"
        )
    found = f"A face is still found in {100 * row['detection_rate']:.0f} % of pictures."
    if not parts:
        parts = ["There are too few photos to say how often people are recognised"]
    return "; ".join(parts) + ". " + found


def _pictures(result, context, methods, generator) -> list[str]:
    main, judge = pictures.main_method(methods), main_recognizer(context)
    sources, clean = open_clean(context)
    parts = [
        "<h2>Pictures</h2>",
        _picture(
            pictures.by_privacy(context, methods, clean),
            f"Sorted by privacy: for {judge}, the faces whose {main.name} picture is "
            "least like their source (best), in the middle, and most like it (worst).",
        ),
        _picture(
            pictures.by_quality(context, methods, sources),
            f"Sorted by quality: faces whose {main.name} picture looks most like an "
            "ordinary photo to VGG16 (best), in the middle, and least (worst).",
        ),
        "<h2>Is the person still recognised?</h2>",
        _picture(
            plots.recognition_bars(result, "tar_far_1e-2", "clean_tar_far_1e-2"),
            "How many of 100 comparisons with other photos of the same person a "
            "recogniser still accepts when 1 of 100 strangers gets through: the dashed "
            "line is untouched photos, 1 is chance, lower is more private; black lines "
            "are 95 % intervals.",
        ),
        _picture(
            pictures.histograms(context, main, clean),
            "The more the anonymized scores lie over those of strangers, the more "
            "anonymous; right of the dotted line a system with 0.1 % false alarms "
            "calls two photos the same person.",
        ),
        _picture(
            pictures.det(context, methods, clean),
            "For every setting of the recogniser: how many own photos it misses (up is "
            "more private), against how many strangers it takes for the person; the "
            "dotted line is blind guessing.",
        ),
        "<h2>Does it work alike for everyone?</h2>",
        _picture(
            pictures.fairness(result, main, judge),
            "Bars of one panel should be equally high: in each part of the photos, how "
            f"often a face is found in the {main.name} picture, and how often {judge} "
            "recognises the person at 1 % false alarms; N is the number of photos.",
        ),
        _paragraph(
            "Parts are made from the untouched pictures: head turn, light on the "
            "cheeks, face size, and the cheeks' colour in the picture (individual "
            "typology angle), which depends on light and camera and names no group.",
            "note",
        ),
    ]
    if generator is not None and generator.config.model.harmonizer != "sum":
        parts += [
            "<h2>Where the identity enters</h2>",
            _picture(
                pictures.gate_grid(context, generator),
                "Bright areas are where the network listens to the new identity, dark "
                "ones where it keeps the photo's own attributes, from the first (left) "
                "to the last steps (right).",
            ),
        ]
    return parts


def to_html(
    result: dict, context: Context, methods: list[Method], generator: Generator | None
) -> str:
    """The whole of report.html."""
    data = result["data"]
    main = pictures.main_method(methods)
    kind = "verdict" if result["passed"] else "verdict failed"
    # What `verdict` checks is that the run is sound; how anonymous is for the reader.
    judgement = (
        "The run is sound: no face was left as it was, and every recogniser works."
        if result["passed"]
        else "Failed."
    )
    body = [
        "<h1>How anonymous are these pictures?</h1>",
        f'<div class="{kind}"><strong>{judgement}</strong> '
        + html.escape(summary(result, main.name))
        + "".join(_paragraph(failure) for failure in result["failures"])
        + "</div>",
        _paragraph(
            "This file shows the photos of real people that were evaluated; keep it as "
            "you keep those photos.",
            "note",
        ),
        _paragraph(
            f"{data['num_photos']} photos of {data['num_people']} people; "
            f"{data['num_queries']} of them, of {data['num_people_with_pairs']} people "
            "with several photos, are searched for among all untouched photos but "
            "their own. Numbers in brackets are 95 % intervals over people."
        ),
        "<h2>Methods</h2><ul>",
        *(
            f"<li><strong>{row['method']}</strong>: {html.escape(row['meaning'])}</li>"
            for row in result["rows"]
        ),
        "</ul>",
        *_pictures(result, context, methods, generator),
        *_tables(result),
        "<h2>Not measured</h2>",
        _paragraph(markdown.not_measured(result)),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Face anonymization report</title><style>{_STYLE}</style>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _tables(result: dict) -> list[str]:
    parts = ["<h2>Privacy</h2>", _paragraph(markdown.PRIVACY_SENTENCE)]
    for name in result["recognizers"]:
        parts += [
            f"<h3>Judged by {html.escape(name)}</h3>",
            _paragraph(markdown.recognizer_sentence(result, name)),
            _table(markdown.privacy_grid(result, name)),
        ]
    for title, sentence, grid in (
        (
            "Utility",
            markdown.UTILITY_SENTENCE,
            markdown.columns(result, markdown.UTILITY),
        ),
        (
            "Quality",
            markdown.quality_sentence(result),
            markdown.columns(result, markdown.QUALITY),
        ),
    ):
        parts += [f"<h2>{title}</h2>", _paragraph(sentence), _table(grid)]
    for title, sentence, grid in attack_table.sections(result):
        parts += [f"<h2>{title}</h2>", _paragraph(sentence), _table(grid)]
    return parts


def write_json(result: dict, path: pathlib.Path) -> None:
    """Writes the result; NaN and infinity are bugs here, and raise."""
    text = json.dumps(result, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_all(
    result: dict,
    context: Context,
    methods: list[Method],
    generator: Generator | None,
    out: pathlib.Path,
) -> None:
    """Writes evaluation.json, evaluation.md and report.html into the folder `out`."""
    write_json(result, out / "evaluation.json")
    (out / "evaluation.md").write_text(markdown.to_markdown(result), encoding="utf-8")
    (out / "report.html").write_text(
        to_html(result, context, methods, generator), encoding="utf-8"
    )
