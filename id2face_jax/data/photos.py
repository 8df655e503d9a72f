"""Where photos come from: folders of people, or a TFDS dataset; and how one is read.

Owns listing, naming and decoding. A photo is named after its place, so that a rerun
knows it again. Leaves what is in it to `prepare`.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image, ImageOps

from id2face_jax.data.records import SPLITS

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo to prepare: its name and person, how to read it, its split if given.

    `read` returns RGB uint8 (h, w, 3) and may raise anything for a broken file.
    """

    name: str
    person: str
    read: Callable[[], UInt8[np.ndarray, "h w 3"]]
    split: str | None = None


def read_photo(path: pathlib.Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as RGB uint8, turned as its EXIF orientation says.

    Transparency is laid over white, and 16-bit grey brought to 8 bit.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            # Pillow would clip these at 255 rather than scale them.
            gray = np.asarray(image).astype(np.float64)
            gray = gray / 257 if gray.max() > 255 else gray
            image = Image.fromarray(np.clip(np.rint(gray), 0, 255).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB"))


def list_photos(roots: Sequence[pathlib.Path]) -> list[Photo]:
    """The photos of folders root/person/photo.jpg, or root/photo.jpg, sorted.

    A person is the folder right below a root, the same name in two roots the same
    person; a photo directly in a root is a person of its own.

    Raises:
      ValueError: a root is no folder, has no photos, or its name comes twice.
    """
    names = [root.resolve().name for root in roots]
    if len(set(names)) < len(names):
        raise ValueError(
            f"the photo folders {[str(root) for root in roots]} have the same name; "
            "records name photos after it, so rename one of them"
        )
    photos = []
    for root, root_name in zip(roots, names, strict=True):
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder; expected PERSON/PHOTO.jpg in it")
        found = [
            path
            for path in sorted(root.rglob("*"))
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
        ]
        if not found:
            raise ValueError(
                f"{root} has no photos; expected PERSON/PHOTO with one of {EXTENSIONS}"
            )
        for path in found:
            inner = path.relative_to(root)
            person = inner.parts[0] if len(inner.parts) > 1 else inner.as_posix()
            read = _reader(path)
            photos.append(Photo(f"{root_name}/{inner.as_posix()}", person, read))
    return photos


def _reader(path: pathlib.Path) -> Callable[[], np.ndarray]:
    return lambda: read_photo(path)


def list_tfds(name: str, data_dir: str | None) -> list[Photo]:
    """The photos of a prepared TFDS dataset with an `image`; people from its `label`.

    Its splits are kept where they are called train, validation or test. Without a
    label each photo is a person of its own.

    Raises:
      ValueError: no such dataset there, not ArrayRecord, or no image in it.
    """
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        sources = {
            split: builder.as_data_source(split) for split in builder.info.splits
        }
    except (tfds.core.DatasetNotFoundError, NotImplementedError, OSError) as error:
        raise ValueError(
            f"cannot read the TFDS dataset {name!r} in {data_dir or 'its default'}: "
            f"{str(error).splitlines()[0]}; it must be prepared there with "
            "file_format='array_record'"
        ) from error
    features = builder.info.features
    if not sources or "image" not in features:
        raise ValueError(
            f"TFDS dataset {name!r} has splits {sorted(sources)} and features "
            f"{sorted(features)}; expected prepared splits with an 'image'"
        )
    photos = []
    for split, source in sources.items():
        kept = split if split in SPLITS else None
        for index in range(len(source)):
            person = f"{split}/{index}"
            if "label" in features:
                person = _label(features["label"], source[index]["label"])
            read = _item_reader(source, index)
            photos.append(Photo(f"{name}/{split}/{index}", person, read, kept))
    return photos


def _label(feature, value) -> str:
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.int2str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def _item_reader(source, index: int) -> Callable[[], np.ndarray]:
    def read():
        image = source[index]["image"]
        return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image

    return read


def read_splits(path: pathlib.Path) -> dict[str, str]:
    """person -> split from a CSV with the columns `person` and `split`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"person", "split"} <= set(rows.fieldnames or ()):
            raise ValueError(
                f"{path} has the columns {rows.fieldnames}; expected a header line "
                "with `person` and `split`"
            )
        splits = {row["person"]: row["split"] for row in rows}
    unknown = set(splits.values()) - set(SPLITS)
    if unknown:
        raise ValueError(
            f"{path} has the splits {sorted(map(str, unknown))}; expected "
            f"{', '.join(SPLITS)}"
        )
    return splits
