"""Where photos come from: people of a table, and TFDS datasets."""

import io

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from id2face_jax.data import photos, records
from tests.data.people import ASTRONAUT, make_people, run


def test_a_table_says_who_is_on_flat_photos(tmp_path):
    make_people(tmp_path / "photos", 3)
    found = photos.list_photos([tmp_path / "photos"])
    table = tmp_path / "people.csv"
    table.write_text("photo,person\n0.jpg,ann\nelsewhere.jpg,ben\n")
    assert {p.person for p in photos.join_people(found, table)} == {"ann"}
    table.write_text("photo,person\n9.jpg,ann\n")
    with pytest.raises(ValueError, match="names none of the 3 photos"):
        photos.join_people(found, table)
    table.write_text("file,who\n0.jpg,ann\n")
    with pytest.raises(ValueError, match="`photo` and `person`"):
        photos.join_people(found, table)


class Identified(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The features of TFDS's celeb_a that matter, and CelebA-HQ's file names."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "image/filename": tfds.features.Text(),
                "identity": {"Identity_No": np.int64},
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._rows()}

    def _rows(self):
        for index in range(3):
            image, name = io.BytesIO(b"never decoded"), f"{index}.jpg"
            who = {"Identity_No": index // 2}
            yield index, {"image": image, "image/filename": name, "identity": who}

    def _generate_examples(self):
        raise NotImplementedError


def test_identities_of_a_tfds_dataset_are_read_without_its_pictures(tmp_path):
    Identified(
        data_dir=str(tmp_path), file_format="array_record"
    ).download_and_prepare()
    found = photos.list_tfds("identified", str(tmp_path))
    assert sorted((photo.name, photo.person) for photo in found) == [
        ("identified/train/0.jpg", "0"),
        ("identified/train/1.jpg", "0"),
        ("identified/train/2.jpg", "1"),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("celeb_a", "tfds build celeb_a --data_dir .*non-commercial research only"),
        ("celeb_a_hq/256", "tfds build celeb_a_hq/256 .*join them with --people"),
        ("lfw", "tfds build lfw .*no license stated"),
        ("vgg_face2", "VGGFace2 is not in TFDS.*give its folder as PHOTOS"),
    ],
)
def test_known_datasets_tell_how_to_get_them(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        photos.list_tfds(name, str(tmp_path))


def test_a_tfds_dataset_keeps_its_splits_and_labels(tmp_path):
    class Labelled(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Two people, whose label is a class."""

        VERSION = tfds.core.Version("1.0.0")
        code_path = None

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["ann", "ben"]),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {
                "train": self._rows(3),
                "test": self._rows(1, 1),
                "extra": self._rows(1),
            }

        def _rows(self, num, label=0):
            png = cv2.imencode(".png", np.asarray(ASTRONAUT)[..., ::-1])[1].tobytes()
            for index in range(num):
                yield index, {"image": io.BytesIO(png), "label": label}

        def _generate_examples(self):
            raise NotImplementedError

    Labelled(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    found = photos.list_tfds("labelled", str(tmp_path))
    assert [photo.person for photo in found].count("ann") == 4
    summary = run(found, tmp_path / "out")
    assert summary["people"] == {"train": 1, "test": 1}
    assert records.open_records(tmp_path / "out", "test")[0]["person"] == "ben"


def test_an_unknown_tfds_dataset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="array_record"):
        photos.list_tfds("no_such_dataset", str(tmp_path))
