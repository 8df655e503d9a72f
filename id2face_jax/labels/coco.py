"""COCO: JSON files with `images` and `annotations`, whose boxes are in pixels.

Known layouts: `annotations/*.json` beside folders of pictures, `_annotations.coco.json`
in each folder of pictures, and JSON files beside a folder. The same picture may be in
several files (instances, captions, keypoints).
"""

import json
import pathlib
from pathlib import PurePath

from id2face_jax.labels import checks
from id2face_jax.labels.base import (
    IsWritten,
    LabelFile,
    Labels,
    Pictures,
    field,
    find_files,
)

_PLACES = ("*.json", "annotations/*.json", "*/_annotations.coco.json")


def read(root: pathlib.Path, pictures: Pictures, keep_links: bool) -> Labels | None:
    """The COCO labels in a folder; None if there are none."""
    labels = Labels()
    for path in find_files(root, *_PLACES):
        content = path.read_bytes()
        if b'"images"' not in content or b'"file_name"' not in content:
            continue
        name = path.relative_to(root)
        for image in _parsed(name, content)["images"]:
            picture = _find(image, name, pictures)
            if picture is None:
                parts = pictures.parts_of(image["file_name"])
                labels.missing[PurePath(*parts)] = name
                continue
            size = (image.get("width"), image.get("height"))
            if all(isinstance(side, int) and side > 0 for side in size):
                labels.sizes[picture] = size
        labels.files.append(LabelFile(name, _rewrite(name, pictures, keep_links)))
    return labels if labels.files else None


def _parsed(name: PurePath, content: bytes) -> dict:
    try:
        entries = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON: {error}") from None
    is_coco = isinstance(entries, dict) and isinstance(entries.get("images"), list)
    if not is_coco or not all(map(_is_image, entries["images"])):
        raise ValueError(
            f"{name} is no COCO file; expected a list `images` of entries with `id` "
            "and `file_name`"
        )
    annotations = entries.get("annotations", [])
    if not all(isinstance(entry, dict) for entry in annotations):
        raise ValueError(f"{name} is no COCO file; `annotations` holds no entries")
    return entries


def _is_image(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("file_name"), str)
        and isinstance(entry.get("id"), int | str)
    )


def _find(image: dict, name: PurePath, pictures: Pictures) -> PurePath | None:
    # instances_val2017.json speaks of the pictures in val2017.
    split = name.stem.rpartition("_")[2]
    near = (name.parent, *map(PurePath, (".", "images", split, f"images/{split}")))
    return pictures.find(image["file_name"], near)


def _rewrite(name: PurePath, pictures: Pictures, keep_links: bool):
    def rewrite(content: bytes, is_written: IsWritten):
        entries = _parsed(name, content)
        images, gone = [], {}
        for image in entries["images"]:
            picture = _find(image, name, pictures)
            if picture is None or not is_written(picture):
                gone[image["id"]] = image["file_name"]
            else:
                images.append(image if keep_links else checks.without_links(image))
        entries, fields = checks.without_originals(entries | {"images": images})
        if not fields and images == _parsed(name, content)["images"]:
            return content, []
        if "annotations" in entries:
            entries["annotations"] = [
                entry
                for entry in entries["annotations"]
                if entry.get("image_id") not in gone
            ]
        text = json.dumps(entries, ensure_ascii=content.isascii())
        dropped = [*sorted(gone.values()), *map(field, sorted(fields))]
        return text.encode("utf-8", "surrogatepass"), dropped

    return rewrite
