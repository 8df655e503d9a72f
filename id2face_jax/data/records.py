"""Records on disk: one aligned face each, as a TFDS dataset on ArrayRecord.

Owns the features of a record and the two doors: `write_records` and `open_records`.
Any TFDS user reads the folder with `tfds.builder_from_directory(path)`, without
TensorFlow. Leaves finding faces to `prepare` and pairs to `pairs`.
"""

import contextlib
import dataclasses
import functools
import io
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, Int

from id2face_jax.faces import align

SPLITS = ("train", "validation", "test")
SUMMARY = "summary.json"


@dataclasses.dataclass(frozen=True)
class Record:
    """One face.

    Attributes:
      image: the aligned crop, an encoded JPEG.
      landmarks: (5, 2) float32, the five points in crop pixels, see `faces.align`.
      matrix: (2, 3) float32, the similarity photo -> crop; its inverse leads back.
      embedding: (d,) float32, unit length, from the recognizer the folder names.
      person: whose face it is.
      person_id: a number for `person`, the same in all splits.
      photo: where the photo came from, relative to the folder given to `prepare`.
    """

    image: bytes
    landmarks: Float[np.ndarray, "5 2"]
    matrix: Float[np.ndarray, "2 3"]
    embedding: Float[np.ndarray, " d"]
    person: str
    person_id: int
    photo: str


def _features(size: int, dim: int) -> tfds.features.FeaturesDict:
    tensor = functools.partial(tfds.features.Tensor, dtype=np.float32)
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
            "landmarks": tensor(shape=(5, 2)),
            "matrix": tensor(shape=(2, 3)),
            "embedding": tensor(shape=(dim,)),
            "person": tfds.features.Text(),
            "person_id": np.int64,
            "photo": tfds.features.Text(),
        }
    )


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS's writer; it wants a class with these methods."""

    VERSION = tfds.core.Version("1.0.0")
    name = "faces"
    # TFDS looks for download checksums beside this file, through importlib_resources,
    # which it does not install. There is nothing to download.
    code_path = None

    def __init__(self, features, splits, **kwargs):
        self._feature_set, self._splits = features, splits
        super().__init__(file_format="array_record", **kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Aligned faces with landmarks and identity embeddings.",
            features=self._feature_set,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return self._splits

    def _generate_examples(self):
        raise NotImplementedError("the splits are given as iterables")


def _examples(records: Iterable[Record]):
    for index, record in enumerate(records):
        example = {
            field.name: getattr(record, field.name)
            for field in dataclasses.fields(Record)
        }
        # Encoded bytes: a decoded image would make TFDS call TensorFlow to encode it.
        example["image"] = io.BytesIO(record.image)
        yield index, example


def write_records(
    out: pathlib.Path,
    splits: Mapping[str, Iterable[Record]],
    size: int,
    dim: int,
    summary: Mapping[str, Any],
) -> None:
    """Writes a dataset to the folder `out`, which must not exist.

    The folder appears at the end, whole, by a rename.

    Args:
      out: the folder to make.
      splits: the records of each split, at least one in each.
      size: side of the crops, pixels.
      dim: length of the embeddings.
      summary: what was done, for people; written beside the records as SUMMARY.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays on one file system.
    staging = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        builder = _Builder(
            _features(size, dim),
            {split: _examples(records) for split, records in splits.items()},
            data_dir=str(staging),
        )
        # TFDS prints about a download that does not happen.
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
        folder = pathlib.Path(builder.data_dir)
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
        folder.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Records:
    """Random access to the records of one split; see `Record` for the fields.

    `records[i]` is a dict with image uint8 (S, S, 3), landmarks (5, 2), matrix (2, 3)
    and embedding (d,) float32, person and photo str, person_id int64.
    """

    source: Sequence[Mapping[str, Any]]
    person_ids: Int[np.ndarray, " n"]
    people: tuple[str, ...]  # the name of each record's person

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")  # ends a for loop
        record = dict(self.source[int(index)])
        for name in ("person", "photo"):
            record[name] = record[name].decode()
        return record | {"person_id": np.int64(record["person_id"])}


def _open_builder(path: str | pathlib.Path) -> tfds.core.DatasetBuilder:
    try:
        builder = tfds.builder_from_directory(str(path))
    except tfds.core.dataset_info.DatasetInfoFileError as error:
        raise ValueError(
            f"{path} holds no records; write some with "
            f"`id2face prepare PHOTOS --out {path}`"
        ) from error
    missing = {field.name for field in dataclasses.fields(Record)} - set(
        builder.info.features
    )
    if missing:
        raise ValueError(
            f"{path} is a dataset without {sorted(missing)}; make records from it with "
            "`id2face prepare --tfds NAME --data-dir D --out RECORDS`"
        )
    return builder


@dataclasses.dataclass(frozen=True)
class Crop:
    """The crops to make: pixels of a side, and what they show."""

    size: int
    geometry: align.Geometry = align.WIDE

    def settings(self) -> dict:
        """For the summary and for file names; JSON."""
        units, center = self.geometry.units, list(self.geometry.center)
        return {"size": self.size, "crop": {"units": units, "center": center}}


def crop_geometry(path: str | pathlib.Path) -> align.Geometry:
    """What the crops in a folder of records show, by its SUMMARY.

    Folders from before it was written down have the widest crops.
    """
    file = pathlib.Path(path) / SUMMARY
    summary = json.loads(file.read_text()) if file.is_file() else {}
    crop = summary.get("settings", {}).get("crop")
    if crop is None:
        return align.WIDE
    return align.Geometry(float(crop["units"]), tuple(map(float, crop["center"])))


def split_names(path: str | pathlib.Path) -> tuple[str, ...]:
    """The splits in a folder that `id2face prepare` wrote; raises as `open_records`."""
    return tuple(sorted(_open_builder(path).info.splits))


def open_records(path: str | pathlib.Path, split: str) -> Records:
    """The records of `split` in a folder that `id2face prepare` wrote.

    Raises:
      ValueError: no such folder, not a dataset of faces, or no such split.
    """
    builder = _open_builder(path)
    if split not in builder.info.splits:
        raise ValueError(
            f"{path} has no split {split!r}; it has {sorted(builder.info.splits)}"
        )
    # Ids first, with images left encoded: half a millisecond a record.
    bare = builder.as_data_source(
        split=split, decoders={"image": tfds.decode.SkipDecoding()}
    )
    rows = bare.__getitems__(list(range(len(bare))))
    ids = np.array([row["person_id"] for row in rows], np.int64)
    people = tuple(row["person"].decode() for row in rows)
    return Records(builder.as_data_source(split=split), ids, people)
