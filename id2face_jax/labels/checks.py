"""Labels that travel with pictures: what in them could show a face after all.

Owns the three questions that every label is asked before it is written: is it text, is
a picture hidden in it, and does it say where the original is.
"""

import re

# What no text holds and almost every binary file does.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f]")
# Base64 of JPEG, PNG, GIF, WebP (in JSON a slash may be escaped), and data URLs.
_PICTURE = re.compile(
    rb"data:image/|"
    rb"(?:\\?/9j\\?/|iVBORw0KGgo|R0lGOD[dl]h|UklGR)[A-Za-z0-9+/\\_-]{200}"
)
_LINK = re.compile(r"\s*(?:https?|ftp|s3|gs)://", re.IGNORECASE)


def is_text(content: bytes) -> bool:
    """Whether it is text, in any encoding that has ASCII in it."""
    return _CONTROL.search(content) is None


def check(name: str, content: bytes) -> None:
    """Raises ValueError unless the content is text that holds no picture."""
    if not is_text(content):
        raise ValueError(f"{name} is no text; it may hold a picture")
    if _PICTURE.search(content):
        raise ValueError(f"{name} holds a picture as text; take it out first")


def is_link(value: object) -> bool:
    """Whether a label's value says where the original can be fetched."""
    return isinstance(value, str) and _LINK.match(value) is not None


def without_links(entry: dict) -> dict:
    """An entry without its links and its EXIF, which may hold the place."""
    return {k: v for k, v in entry.items() if not is_link(v) and k.lower() != "exif"}
