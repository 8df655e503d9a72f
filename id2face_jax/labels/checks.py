"""Labels that travel with pictures: what in them could show a face after all.

Owns the questions that every label is asked before it is written: is it text, is a
picture hidden in it, does it say where the original is, and would it tell the original
again: an embedding of its face, a hash of its file.
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

# What tells the original again: by the name of its field, as a hash in hexadecimal
# (MD5 to SHA-512), or as so many numbers that are no shape. COCO's keypoints, polygons
# and run lengths are.
_NAMED = re.compile(
    r"embed|descriptor|(?:^|[_ -])(?:p|d|a|file)?(?:hash|sha\d*|md5|checksum)", re.I
)
_DIGEST = re.compile(
    r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|"
    r"[0-9a-f]{96}|[0-9a-f]{128})",
    re.I,
)
_SHAPES = ("segmentation", "keypoints", "bbox", "landmarks", "polygon", "points")
_VECTOR = 16
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_NUMBERS = re.compile(
    rf"[\s\[(]*(?:{_NUMBER}[\s,;|]+){{{_VECTOR - 1},}}{_NUMBER}[\s\])]*", re.I
)


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


def tells_original(name: str, value: object) -> bool:
    """Whether a field tells an original again: an embedding, a hash of the file.

    Ids may look like hashes and are none.
    """
    if _NAMED.search(name):
        return True
    if isinstance(value, str):
        is_id = name.lower().endswith(("id", "file_name", "filename"))
        is_hash = _DIGEST.fullmatch(value.strip()) is not None and not is_id
        return is_hash or _NUMBERS.fullmatch(value) is not None
    return (
        isinstance(value, list)
        and len(value) >= _VECTOR
        and all(isinstance(v, int | float) for v in value)
    )


def without_originals(value: object) -> tuple[object, set[str]]:
    """JSON without the fields that tell an original again, and their names."""
    if isinstance(value, list):
        pairs = [without_originals(entry) for entry in value]
        return [new for new, _ in pairs], set().union(*(names for _, names in pairs))
    if not isinstance(value, dict):
        return value, set()
    kept, dropped = {}, set()
    for name, entry in value.items():
        if name.lower() in _SHAPES:
            kept[name] = entry
        elif tells_original(name, entry):
            dropped.add(name)
        else:
            kept[name], inside = without_originals(entry)
            dropped |= inside
    return kept, dropped
