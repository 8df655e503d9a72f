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
    r"embed|descriptor|"
    r"(?:^|[_ -])(?:p|d|a|file)?(?:hash(?:es)?|sha\d*|md5|checksum)s?(?![a-z])",
    re.I,
)
_DIGEST = re.compile(
    r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|"
    r"[0-9a-f]{96}|[0-9a-f]{128})",
    re.I,
)
SHAPES = ("segmentation", "keypoints", "bbox", "landmarks", "polygon", "points")
_VECTOR = 16
# With one way to read digits: a label of a million of them must not take hours.
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?"
_NUMBERS = re.compile(
    rf"(?<![\w.+-]){_NUMBER}(?:[\s,;|]+{_NUMBER}){{{_VECTOR - 1}}}", re.I
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
        return is_hash or _NUMBERS.search(value) is not None
    return (
        isinstance(value, list)
        and len(value) >= _VECTOR
        and all(isinstance(v, int | float) for v in value)
    )


def shown(name: str) -> str:
    """The name of what was dropped as it may be told: a name can hold all the rest."""
    return name if len(name) <= 40 else f"{name[:20]}..."


def without_originals(value: object) -> tuple[object, set[str]]:
    """JSON without the fields that tell an original again, and their names."""
    if isinstance(value, list):
        pairs = [without_originals(entry) for entry in value]
        return [new for new, _ in pairs], set().union(*(names for _, names in pairs))
    if not isinstance(value, dict):
        return value, set()
    kept, dropped = {}, set()
    for name, entry in value.items():
        if name.lower() in SHAPES:
            kept[name] = entry
        elif tells_original(name, entry) or _NUMBERS.search(name):
            dropped.add(shown(name))
        else:
            kept[name], inside = without_originals(entry)
            dropped |= inside
    return kept, dropped


# In lines of text: a name before its value, and where one would be a hash of a file.
_PAIR = re.compile(r"\s*[\"']?([\w .-]{1,40}?)[\"']?\s*[:=\t]\s*(.+)")
_ANY_DIGEST = re.compile(rf"(?<![\w/.-]){_DIGEST.pattern}(?![\w/.-])", re.I)
_BETWEEN = r"[\s,;|\[\]()]"
_ONLY_NUMBERS = re.compile(
    rf"{_BETWEEN}*{_NUMBER}(?:{_BETWEEN}+{_NUMBER})*{_BETWEEN}*", re.I
)


def text_without_originals(text: str, keep_links: bool) -> tuple[str, int]:
    """A text without the lines that tell an original again, and how many those were.

    Nothing is left of a text that is one vector, over however many lines.
    """
    lines = text.splitlines(keepends=True)
    if _ONLY_NUMBERS.fullmatch(text):
        rows = [_numbers_of(line) for line in lines if line.strip()]
        if sum(map(len, rows)) >= _VECTOR and not all(map(_is_shape, rows)):
            return "", len(lines)
        return text, 0
    kept = [line for line in lines if not _tells(line.strip(), keep_links)]
    return "".join(kept), len(lines) - len(kept)


def _tells(line: str, keep_links: bool) -> bool:
    if is_link(line):
        return not keep_links
    pair = _PAIR.fullmatch(line)
    name, value = pair.groups() if pair else ("", line)
    if name.lower() in SHAPES or name.lower().endswith("id"):
        return False
    if is_link(value) and not keep_links:
        return True
    # A sentence may begin with "hash:"; what is encoded has no spaces.
    if _NAMED.search(name) and len(value) >= _VECTOR and " " not in value:
        return True
    if _ANY_DIGEST.search(value):
        return True
    if _ONLY_NUMBERS.fullmatch(value) and _is_shape(_numbers_of(value)):
        return False
    return _NUMBERS.search(value) is not None


def _numbers_of(line: str) -> list[str]:
    return re.findall(_NUMBER, line, re.I)


def _is_shape(numbers: list[str]) -> bool:
    """Whether a row of numbers is a box or points: a few, or as YOLO writes them.

    There a class is followed by shares of the picture, and 0, 1 or 2 for visibility.
    """
    values = [float(number) for number in numbers]
    if len(values) < _VECTOR:
        return len(values) > 1 and min(values) >= 0
    return numbers[0].isdigit() and all(0 <= value <= 2 for value in values[1:])
