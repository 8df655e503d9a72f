"""The report as one page to read: report.html, without scripts or outside resources.

It shows what report.json holds, and small pictures of results, never of sources. Leaves
looks to the template.
"""

import base64
import io
import pathlib
from collections.abc import Sequence

import PIL.ImageDraw

from id2face_jax.anonymize.io import images
from id2face_jax.pages import render

# With more pictures a page of one file becomes slow to open; those that somebody should
# look at come first.
MOST_THUMBNAILS = 200
_SIDE = 220  # pixels, of a thumbnail's longer side
_MEANINGS = {
    "anonymized": "every face is new, and no recognizer that was asked matches it",
    "fallback": "a face that the model could not hide is blurred",
    "no_face": "no face was found, or none was to be changed",
    "refused": "nothing was written",
}
_COLORS = {
    "anonymized": "#2f9e58",
    "fallback": "#d08700",
    "kept": "#3b6fd4",
    "covered": "#d08700",
}


def page(content: dict, folder: pathlib.Path) -> bytes:
    """The page of a report (see `batch.state.Ledger.content`), UTF-8.

    folder: of the report, from which it names its results.
    """
    files = content["files"]
    shown = sorted(range(len(files)), key=lambda i: (not _is_notable(files[i]), i))
    thumbnails = {i: _thumbnail(files[i], folder) for i in shown[:MOST_THUMBNAILS]}
    values = content | {
        "files": [(file, thumbnails.get(i)) for i, file in enumerate(files)],
        "num_hidden": max(0, len(files) - MOST_THUMBNAILS),
    }
    return render.render("report.html", meanings=_MEANINGS, **values)


def _is_notable(file: dict) -> bool:
    return file["state"] == "fallback" or bool(file["covered"])


def _thumbnail(file: dict, folder: pathlib.Path) -> str | None:
    """A data URL of the result with its boxes; None if there is no such picture."""
    path = folder / (file["output"] or "")
    is_picture = path.suffix.lower() in images.FORMATS
    if file["output_sha256"] is None or not is_picture or not path.is_file():
        return None
    try:
        picture, scale = images.read_small(path, _SIDE)
    except (OSError, ValueError):  # somebody has changed it since
        return None
    draw = PIL.ImageDraw.Draw(picture)
    for box, color in _boxes(file["faces"], file["covered"]):
        left, top, right, bottom = (value * scale for value in box)
        corners = (left, top, max(left, right), max(top, bottom))
        draw.rectangle(corners, outline=color, width=2)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _boxes(faces: Sequence[dict], covered: Sequence[dict]):
    for face in faces:
        if face["state"] in _COLORS:
            yield face["box"], _COLORS[face["state"]]
    for place in covered:
        yield place["box"], _COLORS["covered"]
