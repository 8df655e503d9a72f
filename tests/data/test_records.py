"""Records: written, read back, by us and by any TFDS user."""

import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from id2face_jax.data import records

SIZE, DIM = 32, 6


def make_record(index: int) -> records.Record:
    rng = np.random.default_rng(index)
    image = np.full((SIZE, SIZE, 3), 20 * index, np.uint8)
    return records.Record(
        image=cv2.imencode(".jpg", image)[1].tobytes(),
        landmarks=rng.normal(size=(5, 2)).astype(np.float32),
        matrix=rng.normal(size=(2, 3)).astype(np.float32),
        embedding=rng.normal(size=DIM).astype(np.float32),
        person=f"Zoë {index // 2}",
        person_id=index // 2,
        photo=f"set/Zoë {index // 2}/{index}.jpg",
    )


ROWS = [make_record(index) for index in range(7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "deep" / "set"
    splits = {"train": ROWS[:5], "test": ROWS[5:]}
    records.write_records(out, splits, SIZE, DIM, {"made": "here"})
    return out


def test_what_was_written_is_read_in_order(folder):
    source = records.open_records(folder, "train")
    assert len(source) == 5
    np.testing.assert_array_equal(source.person_ids, [0, 0, 1, 1, 2])
    assert source.person_ids.dtype == np.int64
    for row, wanted in zip(source, ROWS, strict=False):
        assert row["image"].shape == (SIZE, SIZE, 3) and row["image"].dtype == np.uint8
        assert row["person"] == wanted.person and row["photo"] == wanted.photo
        assert row["person_id"] == wanted.person_id
        for name in ("landmarks", "matrix", "embedding"):
            np.testing.assert_array_equal(row[name], getattr(wanted, name))
            assert row[name].dtype == np.float32


def test_splits_are_apart(folder):
    assert [row["photo"] for row in records.open_records(folder, "test")] == [
        row.photo for row in ROWS[5:]
    ]


def test_any_tfds_user_reads_it_without_tensorflow(folder):
    source = tfds.builder_from_directory(str(folder)).as_data_source(split="train")
    assert source[2]["photo"].decode() == ROWS[2].photo
    assert "tensorflow" not in sys.modules


def test_the_summary_lies_beside_the_records(folder):
    assert (folder / records.SUMMARY).read_text() == '{\n  "made": "here"\n}\n'


def test_a_failure_leaves_nothing_behind(tmp_path):
    def broken():
        yield ROWS[0]
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        records.write_records(tmp_path / "out", {"train": broken()}, SIZE, DIM, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "split, message", [("validation", "no split 'validation'"), ("tset", "it has")]
)
def test_an_unknown_split_is_refused(folder, split, message):
    with pytest.raises(ValueError, match=message):
        records.open_records(folder, split)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match="id2face prepare PHOTOS"):
        records.open_records(tmp_path, "train")
    with pytest.raises(ValueError, match="id2face prepare PHOTOS"):
        records.open_records(tmp_path / "nowhere", "train")
