"""The three files of a result: evaluation.json, evaluation.md, report.html."""

import json
import pathlib

from id2face_jax.atomic import write_atomically
from id2face_jax.evaluation.context import Context
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.report import html, markdown


def write_json(result: dict, path: pathlib.Path) -> None:
    """Writes the result; NaN and infinity are bugs here, and raise."""
    text = json.dumps(result, indent=1, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def write_all(
    result: dict,
    context: Context,
    methods: list[Method],
    generator: Generator | None,
    out: pathlib.Path,
) -> None:
    """Writes evaluation.json, evaluation.md and report.html into the folder `out`."""
    write_json(result, out / "evaluation.json")
    write_atomically(out / "evaluation.md", markdown.to_markdown(result).encode())
    page = html.page(result, context, methods, generator)
    write_atomically(out / "report.html", page)
