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

    Transparency is laid over white, and 16-bit gray brought to 8 bit.
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


# What people must know before TFDS can prepare a dataset of faces for them.
_NOTES = {
    "celeb_a": "CelebA: non-commercial research only; TFDS downloads it from Google "
    "Drive, which often refuses: try again later",
    "celeb_a_hq": "CelebA-HQ: non-commercial research only; name a size, such as "
    "celeb_a_hq/256, and put its tar, made as the Progressive GAN project says, into "
    "D/downloads/manual; it has no identities, so join them with --people",
    "lfw": "LFW: press photos of a research benchmark, no license stated",
}
_NOT_IN_TFDS = {
    "vgg_face2": "VGGFace2 is not in TFDS, and its authors have withdrawn it; a copy "
    "has the layout PERSON/PHOTO.jpg, so give its folder as PHOTOS, if its license "
    "lets you",
}


def list_tfds(name: str, data_dir: str | None) -> list[Photo]:
    """The photos of a prepared TFDS dataset with an `image`.

    People come from its `label`, or from the `identity` of CelebA; without either each
    photo is a person of its own. Splits are kept where they are called train,
    validation or test. A photo is called as its `image/filename` says, or by its
    number.

    Raises:
      ValueError: no such dataset there, not ArrayRecord, or no image in it.
    """
    kind = name.split("/")[0].split(":")[0]
    if kind in _NOT_IN_TFDS:
        raise ValueError(_NOT_IN_TFDS[kind])
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        splits = list(builder.info.splits)
        sources = {split: builder.as_data_source(split) for split in splits}
        # Who is on a photo, with the photo left encoded.
        skip = {"image": tfds.decode.SkipDecoding()}
        bare = {x: builder.as_data_source(x, decoders=skip) for x in splits}
    except (tfds.core.DatasetNotFoundError, NotImplementedError, OSError) as error:
        raise ValueError(_not_prepared(name, kind, data_dir, error)) from error
    if not splits:
        raise ValueError(_not_prepared(name, kind, data_dir, "it has no splits"))
    features = builder.info.features
    if "image" not in features:
        raise ValueError(
            f"TFDS dataset {name!r} has the features {sorted(features)}; expected an "
            "'image'"
        )
    return [
        _tfds_photo(name, split, index, features, row, sources[split])
        for split in splits
        for index, row in enumerate(bare[split])
    ]


def _not_prepared(name: str, kind: str, data_dir: str | None, error) -> str:
    """What went wrong with a dataset, and how to prepare it."""
    note = f". {_NOTES[kind]}" if kind in _NOTES else ""
    return (
        f"cannot read the TFDS dataset {name!r} in {data_dir or 'its default'}: "
        f"{str(error).splitlines()[0]}; prepare it there, where TensorFlow is "
        f"installed: tfds build {name} --data_dir D --file_format array_record{note}"
    )


def _tfds_photo(name: str, split: str, index: int, features, row, source) -> Photo:
    inner = f"{split}/{index}"
    if "image/filename" in features:
        inner = f"{split}/{row['image/filename'].decode()}"
    person = inner
    if "label" in features:
        person = _label(features["label"], row["label"])
    elif "identity" in features:
        person = str(row["identity"]["Identity_No"])
    kept = split if split in SPLITS else None
    return Photo(f"{name}/{inner}", person, _item_reader(source, index), kept)


def _label(feature, value) -> str:
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.int2str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def _item_reader(source, index: int) -> Callable[[], np.ndarray]:
    def read():
        image = source[index]["image"]
        return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image

    return read


def _read_columns(path: pathlib.Path, key: str, value: str) -> dict[str, str]:
    """Two columns of a CSV as a dict. Raises ValueError if it lacks one of them."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {key, value} <= set(rows.fieldnames or ()):
            raise ValueError(
                f"{path} has the columns {rows.fieldnames}; expected a header line "
                f"with `{key}` and `{value}`"
            )
        return {row[key]: row[value] for row in rows}


def read_splits(path: pathlib.Path) -> dict[str, str]:
    """person -> split from a CSV with the columns `person` and `split`."""
    splits = _read_columns(path, "person", "split")
    unknown = set(splits.values()) - set(SPLITS)
    if unknown:
        raise ValueError(
            f"{path} has the splits {sorted(map(str, unknown))}; expected "
            f"{', '.join(SPLITS)}"
        )
    return splits


def join_people(photos: Sequence[Photo], path: pathlib.Path) -> list[Photo]:
    """`photos`, with people from a CSV with the columns `photo` and `person`.

    `photo` is a file's name without its folders (or the number of a TFDS example
    without file names); photos that the table lacks keep their person.

    Raises:
      ValueError: other columns, or no photo of ours in the table.
    """
    people = _read_columns(path, "photo", "person")
    names = [photo.name.rpartition("/")[2] for photo in photos]
    if not people.keys() & set(names):
        raise ValueError(
            f"{path} names none of the {len(photos)} photos; they are called as "
            f"{names[0]!r}, and the table has {next(iter(people), 'no rows')!r}"
        )
    return [
        dataclasses.replace(photo, person=people.get(name, photo.person))
        for photo, name in zip(photos, names, strict=True)
    ]
