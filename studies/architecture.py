"""Draws docs/architecture.svg, the figure of the method: what feeds what.

.venv/bin/python -m studies.architecture
"""

import pathlib

OUT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "architecture.svg"
WIDTH, HEIGHT = 640, 576
BOX = (176, 62)  # width and height
COLUMNS, ROWS = (16, 232, 448), (18, 138, 258, 378, 498)  # left and upper edges
DATA, NETWORK, TRAINING = "#f3f4f6", "#dbeafe", "#fef3c7"

# name: (column, row, color, line 1, line 2)
BOXES = {
    "mask": (0, 0, DATA, "mask m", "the region to change"),
    "photo": (1, 0, DATA, "photo x", "aligned crop"),
    "embedding": (2, 0, DATA, "embedding f", "frozen recognizer"),
    "encoder": (0, 1, NETWORK, "encoder E", "z and E(x (1 - m))"),
    "attributes": (1, 1, NETWORK, "attribute encoder", "a: everything else"),
    "identity": (2, 1, NETWORK, "identity VAE", "new u, turned from f"),
    "adversaries": (0, 2, TRAINING, "two adversaries", "read who it is from a"),
    "recomposer": (1, 2, NETWORK, "recomposer", "who, and all else"),
    "template": (2, 2, NETWORK, "identity template", "average face of f"),
    "unet": (1, 3, NETWORK, "UNet with gates", "DDIM: noise to z0"),
    "judges": (2, 3, TRAINING, "recognizer, critic", "look at the estimate"),
    "result": (0, 4, DATA, "result", "(1 - m) x + m D(z0)"),
    "decoder": (1, 4, NETWORK, "decoder D", "latent to pixels"),
}
# from, side, to, side, in training alone
ARROWS = [
    ("photo", "bottom", "encoder", "top", False),
    ("mask", "bottom", "encoder", "top", False),
    ("encoder", "right", "attributes", "left", False),
    ("photo", "right", "embedding", "left", False),
    ("embedding", "bottom", "identity", "top", False),
    ("attributes", "bottom", "recomposer", "top", False),
    ("attributes", "bottom", "adversaries", "top", True),
    ("identity", "bottom", "recomposer", "top", False),
    ("identity", "bottom", "template", "top", False),
    ("recomposer", "bottom", "unet", "top", False),
    ("template", "bottom", "unet", "top", False),
    ("encoder", "left", "unet", "left", False),
    ("unet", "right", "judges", "left", True),
    ("unet", "bottom", "decoder", "top", False),
    ("decoder", "left", "result", "right", False),
]


def place(name: str, side: str) -> tuple[float, float]:
    """The middle of one side of a box."""
    x, y = COLUMNS[BOXES[name][0]], ROWS[BOXES[name][1]]
    across = {"left": 0.0, "right": 1.0}.get(side, 0.5)
    down = {"top": 0.0, "bottom": 1.0}.get(side, 0.5)
    return x + across * BOX[0], y + down * BOX[1]


def box(name: str) -> str:
    """A rounded box with its two lines."""
    column, row, color, title, about = BOXES[name]
    x, y = COLUMNS[column], ROWS[row]
    dash = ' stroke-dasharray="6 4"' if color == TRAINING else ""
    middle = x + BOX[0] / 2
    return (
        f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="8" '
        f'fill="{color}" stroke="#374151"{dash}/>\n'
        f'<text x="{middle}" y="{y + 26}" font-weight="600">{title}</text>\n'
        f'<text x="{middle}" y="{y + 48}" font-size="14">{about}</text>'
    )


def arrow(start: str, out: str, end: str, into: str, is_training: bool) -> str:
    """A straight line, or one round the left edge where both sides are left."""
    (x0, y0), (x1, y1) = place(start, out), place(end, into)
    path = f"M{x0} {y0} L{x1} {y1}"
    if out == into == "left":  # past the box between them, in the margin
        path = f"M{x0} {y0} L6 {y0} L6 {y1} L{x1} {y1}"
    dash = ' stroke-dasharray="6 4"' if is_training else ""
    return (
        f'<path d="{path}" fill="none" stroke="#374151" stroke-width="1.5"{dash} '
        'marker-end="url(#head)"/>'
    )


def draw() -> str:
    """The whole figure."""
    parts = [arrow(*one) for one in ARROWS] + [box(name) for name in BOXES]
    head = (
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" '
        'markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="#374151"/></marker></defs>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="16" text-anchor="middle">',
            head,
            # White below it, so that it reads on a dark page.
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    OUT.write_text(draw())
