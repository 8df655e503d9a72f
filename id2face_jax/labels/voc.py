"""Pascal VOC: JPEGImages, Annotations (XML, boxes in pixels), ImageSets (lists).

Several such folders may lie in one (VOCdevkit/VOC2007, VOC2012). Segmentation maps are
pictures themselves and are left out.
"""

import pathlib
from pathlib import PurePath

from lxml import etree

from id2face_jax.labels import checks
from id2face_jax.labels.base import (
    IsWritten,
    LabelFile,
    Labels,
    Pictures,
    field,
    find_files,
)

_MAPS = ("SegmentationClass", "SegmentationObject")
# Who took the photo, its number at Flickr, its path on the labeler's machine.
_LINKS = ("owner", "flickrid", "path")


def read(root: pathlib.Path, pictures: Pictures, keep_links: bool) -> Labels | None:
    """The VOC labels in a folder; None if there are none."""
    labels = Labels()
    for base in (root, *sorted(root.glob("*")), *sorted(root.glob("*/*"))):
        if (base / "Annotations").is_dir() and (base / "JPEGImages").is_dir():
            _read_base(root, base, pictures, keep_links, labels)
    return labels if labels.files else None


def _read_base(root, base, pictures: Pictures, keep_links: bool, labels: Labels):
    here = base.relative_to(root)
    by_stem = _by_stem(pictures, here / "JPEGImages")
    labels.maps |= {
        path
        for path in pictures.paths
        if any(path.is_relative_to(here / folder) for folder in _MAPS)
    }
    for path in find_files(base / "Annotations", "*.xml"):
        name = path.relative_to(root)
        picture = by_stem.get(path.stem)
        if picture is None:
            picture = here / "JPEGImages" / f"{path.stem}.jpg"
            labels.missing[picture] = name
        else:
            size = _size(_tree(name, path.read_bytes()))
            if size is not None:
                labels.sizes[picture] = size
        labels.files.append(LabelFile(name, _rewrite_xml(name, picture, keep_links)))
    for path in find_files(base / "ImageSets", "**/*.txt"):
        name = path.relative_to(root)
        for stem in filter(None, map(_first, path.read_bytes().splitlines())):
            if stem not in by_stem:
                labels.missing[here / "JPEGImages" / f"{stem}.jpg"] = name
        labels.files.append(LabelFile(name, _rewrite_list(by_stem)))


def _by_stem(pictures: Pictures, folder: PurePath) -> dict[str, PurePath]:
    found: dict[str, PurePath] = {}
    for path in sorted(pictures.paths):
        if path.parent == folder:
            if path.stem in found:
                raise ValueError(
                    f"{found[path.stem]} and {path} have the same labels; give each a "
                    "name of its own"
                )
            found[path.stem] = path
    return found


def _tree(name: PurePath, content: bytes) -> etree._Element:
    # No entities: they can read files, and grow without end.
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        return etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"{name} is no XML: {error}") from None


def _size(tree: etree._Element) -> tuple[int, int] | None:
    size = tree.find("size")
    try:
        found = (int(size.findtext("width")), int(size.findtext("height")))
    except (AttributeError, TypeError, ValueError):  # it says no size
        return None
    return found if min(found) > 0 else None


def _rewrite_xml(name: PurePath, picture: PurePath, keep_links: bool):
    def rewrite(content: bytes, is_written: IsWritten):
        if not is_written(picture):
            return None, [picture.name]
        tree = _tree(name, content)
        telling = [e for e in tree.iter() if _tells_original(e)]
        links = [] if keep_links else [e for e in tree.iter(*_LINKS)]
        for element in (*telling, *links):
            _remove(element)
        if not telling and not links:
            return content, []
        root = tree.getroottree()
        clean = etree.tostring(root, encoding=root.docinfo.encoding or "UTF-8")
        return clean + b"\n", sorted({field(element.tag) for element in telling})

    return rewrite


def _tells_original(element: etree._Element) -> bool:
    is_leaf = isinstance(element.tag, str) and not len(element)
    return is_leaf and checks.tells_original(element.tag, element.text or "")


def _remove(element: etree._Element) -> None:
    """Takes it out with what is in it; what stands after it stays."""
    parent, before, tail = element.getparent(), element.getprevious(), element.tail
    if parent is None:
        return
    if tail and tail.strip():
        if before is None:
            parent.text = (parent.text or "") + tail
        else:
            before.tail = (before.tail or "") + tail
    parent.remove(element)


def _first(line: bytes) -> str:
    """The picture of a line; after it may stand whether it shows a class."""
    words = line.split()
    return words[0].decode("utf-8", "surrogateescape") if words else ""


def _rewrite_list(by_stem: dict[str, PurePath]):
    def rewrite(content: bytes, is_written: IsWritten):
        kept, dropped = [], []
        for line in content.splitlines(keepends=True):
            stem = _first(line)
            if not stem or (stem in by_stem and is_written(by_stem[stem])):
                kept.append(line)
            else:
                dropped.append(stem)
        return b"".join(kept), dropped

    return rewrite
