"""YOLO: a text file of boxes for each picture, a data.yaml, and lists of pictures.

The boxes of images/train/a.jpg are in labels/train/a.txt, relative to the picture's
size. In data.yaml the place of the dataset is taken out: with it, a trainer would go
back to the original pictures.
"""

import pathlib
from pathlib import PurePath

import ruamel.yaml

from id2face_jax.labels import checks
from id2face_jax.labels.base import (
    IsWritten,
    LabelFile,
    Labels,
    Pictures,
    copied,
    find_files,
    unchanged,
)

_SPLITS = ("train", "val", "test")
_NAMES = ("*.names", "classes.txt", "labels/classes.txt")


def read(root: pathlib.Path, pictures: Pictures, keep_links: bool) -> Labels | None:
    """The YOLO labels in a folder; None if there are none."""
    labels, lists = Labels(), set()
    for path in find_files(root, "*.yaml", "*.yml"):
        settings = _settings(path)
        if settings is None:
            continue
        places = {e: _inside(e, root, settings) for e in _entries(settings)}
        gone = [entry for entry, place in places.items() if not (root / place).exists()]
        labels.absent += [f"{entry} of {path.name}, not there" for entry in gone]
        places = {e: place for e, place in places.items() if e not in gone}
        lists |= {place for place in places.values() if place.suffix == ".txt"}
        new = _new_yaml(path.read_bytes(), root, settings, places, keep_links)
        name = path.relative_to(root)
        labels.files.append(LabelFile(name, lambda content, _, new=new: (new, [])))
    if not labels.files and not all((root / f).is_dir() for f in ("images", "labels")):
        return None
    for picture in sorted(pictures.paths):
        path = _label_path(picture)
        if (root / path).is_file():
            labels.files.append(LabelFile(path, copied(picture)))
    _read_lists(root, pictures, lists, labels)
    for path in find_files(root, *_NAMES):
        labels.files.append(LabelFile(path.relative_to(root), unchanged))
    return labels if labels.files else None


def _settings(path: pathlib.Path) -> dict | None:
    try:
        settings = ruamel.yaml.YAML().load(path.read_bytes())
    except (ruamel.yaml.error.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no YAML: {error}") from None
    is_ours = isinstance(settings, dict) and ("names" in settings or "nc" in settings)
    return settings if is_ours and any(s in settings for s in _SPLITS) else None


def _entries(settings: dict) -> list[str]:
    found = []
    for split in _SPLITS:
        entry = settings.get(split)
        found += entry if isinstance(entry, list) else [entry]
    return [entry for entry in found if isinstance(entry, str)]


def _inside(entry: str, root: pathlib.Path, settings: dict) -> PurePath:
    """Where an entry of data.yaml leads, from the root, also if nothing is there.

    Raises ValueError if it is outside of the root.
    """
    path, place = PurePath(entry), str(settings.get("path") or "")
    for base in (place, str(root), str(root.resolve())):
        if path.is_absolute() and base and path.is_relative_to(base):
            return path.relative_to(base)
    # Roboflow writes ../train for train; YOLO's own reader forgives that, too.
    inside = PurePath(*(part for part in path.parts if part != ".."))
    if not path.is_absolute():
        for found in (inside, PurePath(place) / inside):
            if not found.is_absolute() and (root / found).exists():
                return found
    is_elsewhere = ".." in path.parts and (root / place / path).exists()
    if path.is_absolute() or is_elsewhere:
        raise ValueError(
            f"the dataset's YAML names {entry}, which is not in {root}; give the "
            "folder that holds all of it"
        )
    return inside


def _new_yaml(
    content: bytes, root, settings: dict, places: dict[str, PurePath], keep_links: bool
) -> bytes:
    """data.yaml without its place, its links, and with no absolute path.

    The parser says where an entry begins; all others stay byte for byte.
    """
    place = str(settings.get("path") or "")
    stays = not PurePath(place).is_absolute() and ".." not in PurePath(place).parts
    gone = set() if stays and (root / place).is_dir() else {"path"}
    if not keep_links:
        gone |= {"download", *(k for k, v in settings.items() if _has_link(v))}
    moves = {
        entry: path.as_posix()
        for entry, path in places.items()
        if PurePath(entry).is_absolute()
    }
    starts = {settings.lc.key(key)[0]: key for key in settings}
    if len(starts) < len(settings):
        raise ValueError(
            "the dataset's YAML has several entries in a line; give each one its own"
        )
    return _without(content.decode(), starts, gone, moves).encode()


def _without(
    text: str, starts: dict[int, str], gone: set[str], moves: dict[str, str]
) -> str:
    """YAML without the entries `gone`, and with other paths in those of splits.

    starts: line in which an entry begins -> its key.
    """
    lines = text.splitlines(keepends=True)
    kept, key, comments = [], None, []
    for number, line in enumerate(lines):
        key = starts.get(number, key)
        if key not in gone:
            for old, new in moves.items() if key in _SPLITS else ():
                line = line.replace(old, new)
            kept.append(line)
        # A comment after an entry is of the next one, unless its text goes on.
        elif number not in starts and line.startswith("#"):
            comments.append(line)
        else:
            comments = []
        if key in gone and (number + 1 in starts or number + 1 == len(lines)):
            kept, comments = kept + comments, []
    return "".join(kept)


def _has_link(value: object) -> bool:
    values = value.values() if isinstance(value, dict) else [value]
    return any(map(checks.is_link, values))


def _label_path(picture: PurePath) -> PurePath:
    """Where the boxes of a picture are: the last `images` of its path is `labels`."""
    parts = list(picture.with_suffix(".txt").parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return PurePath(*parts)


def _read_lists(root, pictures: Pictures, paths: set[PurePath], labels: Labels):
    for name in sorted(paths):
        for line in (root / name).read_bytes().splitlines():
            if line.strip() and _listed(line, name, pictures) is None:
                parts = pictures.parts_of(_text(line))
                labels.missing[PurePath(*parts)] = name
        labels.files.append(LabelFile(name, _rewrite_list(name, pictures)))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").strip()


def _listed(line: bytes, name: PurePath, pictures: Pictures) -> PurePath | None:
    return pictures.find(_text(line), (name.parent, PurePath(".")))


def _rewrite_list(name: PurePath, pictures: Pictures):
    def rewrite(content: bytes, is_written: IsWritten):
        kept, dropped = [], []
        for line in content.splitlines(keepends=True):
            if not line.strip():
                kept.append(line)
                continue
            picture = _listed(line, name, pictures)
            if picture is None or not is_written(picture):
                dropped.append(_text(line))
            elif PurePath(_text(line)).is_absolute():
                kept.append(f"./{picture.relative_to(name.parent)}\n".encode())
            else:
                kept.append(line)
        return b"".join(kept), dropped

    return rewrite
