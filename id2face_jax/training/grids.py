"""Labelled grids of pictures, as arrays and PNG files.

Owns layout and text. Leaves what the pictures are to the caller.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

_GAP = 4  # pixels between cells
_MIN_WIDTH = 96  # of a cell, in pixels; smaller ones are magnified, for the titles
_INK, _PAPER = (32, 32, 32), (255, 255, 255)


def make_grid(
    cells: UInt8[np.ndarray, "n k h w 3"], labels: Sequence[str]
) -> UInt8[np.ndarray, "height width 3"]:
    """One picture: n rows of k cells on white, a title over each column.

    labels: k titles. Raises ValueError if their number is another.
    """
    num_rows, num_columns, height, width = cells.shape[:4]
    if len(labels) != num_columns:
        raise ValueError(
            f"the grid has {num_columns} columns and {len(labels)} labels; "
            "give one label a column"
        )
    factor = -(-_MIN_WIDTH // width)
    cells = cells.repeat(factor, axis=2).repeat(factor, axis=3)
    height, width = height * factor, width * factor
    # Titles of about ten letters fit a cell of any size, down to what can be read.
    font = ImageFont.load_default(size=max(8, width // 9))
    top = int(1.6 * font.size) + _GAP
    canvas = Image.new(
        "RGB",
        (num_columns * (width + _GAP) + _GAP, top + num_rows * (height + _GAP)),
        _PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    for column, label in enumerate(labels):
        left = _GAP + column * (width + _GAP)
        center = (left + width / 2, top / 2)
        draw.text(center, label, fill=_INK, font=font, anchor="mm")
        for row in range(num_rows):
            cell = Image.fromarray(cells[row, column])
            canvas.paste(cell, (left, top + row * (height + _GAP)))
    return np.asarray(canvas)


def save_png(path: str | os.PathLike, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes a PNG, whole or not at all; makes the folder if needed."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    Image.fromarray(image).save(scratch, format="PNG")
    scratch.replace(path)
