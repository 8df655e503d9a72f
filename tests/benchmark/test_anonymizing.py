"""Stages, folders and start-up: what is slow shows, and where it shows."""

import os
import pathlib
import types

import pytest

from id2face_jax.anonymize.batch import runner
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline import pipeline, stages
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.anonymize.pipeline.stages import STAGES
from id2face_jax.benchmark import anonymizing, bars, startup, timing
from tests.anonymize import planted


@pytest.fixture
def photos(tmp_path) -> list[pathlib.Path]:
    paths = []
    for seed in range(3):
        pixels = planted.picture(seed)
        paths.append(tmp_path / f"{seed}.png")
        paths[-1].write_bytes(images.encode(images.Photo(pixels), pixels, ".png"))
    return paths


class Clock:
    """A clock that stands still, whatever the machine does, but in slow functions."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        time = types.SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(stages, "time", time)
        monkeypatch.setattr(anonymizing, "time", time)

    def slow(self, function):
        """The function, which now takes a second."""

        def late(*args, **kwargs):
            self.now += 1.0
            return function(*args, **kwargs)

        return late


def anonymizer() -> Anonymizer:
    return Anonymizer(
        planted.PlantedGenerator(planted.other_face),
        [planted.PlantedRecognizer()],
        planted.PlantedDetector(),
        FaceOptions(),
    )


PLACES = {
    "decode": (images, "read"),
    "detect": (pipeline, "open_picture"),
    "align": (pipeline, "_requests"),
    "embed": (pipeline.verify, "embed"),
    "sample": (planted.PlantedGenerator, "__call__"),
    "blend": (pipeline, "_paint"),
    "verify": (pipeline, "_verify"),
    "encode": (images, "encode"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_slow_stage_has_the_whole_share(photos, monkeypatch, stage):
    place, name = PLACES[stage]
    monkeypatch.setattr(place, name, Clock(monkeypatch).slow(getattr(place, name)))
    found = anonymizing.measure_stages(anonymizer(), photos)
    assert found["shares"] == dict.fromkeys((*STAGES, "other"), 0.0) | {stage: 1.0}
    assert found["stages"][stage] == found["seconds"] >= 1.0
    assert found["faces"] == found["photos"] == 3
    assert found["states"] == {"anonymized": 3}


def test_what_no_stage_owns_is_other(photos, monkeypatch):
    slow = Clock(monkeypatch).slow(runner.commit)
    monkeypatch.setattr(runner, "commit", slow)
    found = anonymizing.measure_stages(anonymizer(), photos)
    assert found["shares"]["other"] == 1.0 and found["seconds"] == 3.0


def test_photos_are_many_and_no_two_alike(tmp_path):
    paths = anonymizing.write_photos(tmp_path / "made", 5)
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == 5
    assert images.read(paths[0]).pixels.shape == (512, 512, 3)
    again = anonymizing.write_photos(tmp_path / "again", 5)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]


def test_ones_own_photos_are_taken_by_name(tmp_path, photos):
    copies = anonymizing.copy_photos(tmp_path, tmp_path / "copies", 2)
    assert [p.read_bytes() for p in copies] == [p.read_bytes() for p in photos[:2]]


def test_too_few_photos_are_an_error(tmp_path, photos):
    with pytest.raises(ValueError, match="holds 3 pictures, and 4 are measured"):
        anonymizing.copy_photos(tmp_path, tmp_path / "copies", 4)


@pytest.fixture
def commands(monkeypatch):
    """commands(function): a child is what `function(input folder, cache)` says."""

    def plant(function):
        def run_child(command, **environment):
            source = pathlib.Path(command[command.index("anonymize") + 1])
            return function(source, environment.get("ID2FACE_CACHE_DIR"))

        monkeypatch.setattr(timing, "run_child", run_child)

    return plant


def growth(found: dict, figure: str) -> dict:
    lines = bars.verdicts({"folders": found})
    (line,) = [line for line in lines if line["figure"].startswith(figure)]
    return line


def test_time_per_face_leaves_the_start_out(photos, commands):
    commands(lambda folder, _: timing.Child(5.0 + len(os.listdir(folder)), 10**9, ""))
    found = anonymizing.folders(photos, None, (2, 3), 2)
    assert found["seconds_per_face"] == [1.0, 1.0]
    assert found["faces_per_s"] == 3 / 8
    repeats = {num: times["repeats"] for num, times in found["seconds"].items()}
    assert repeats == {"1": 2, "2": 2, "3": 1}
    assert growth(found, "time per face")["met"]
    assert growth(found, "peak memory")["met"]


def test_what_grows_with_the_folder_misses_its_figure(photos, commands):
    commands(
        lambda folder, _: timing.Child(
            5.0 + len(os.listdir(folder)) ** 2, 10**9 * len(os.listdir(folder)), ""
        )
    )
    found = anonymizing.folders(photos, None, (2, 3), 1)
    assert growth(found, "time per face")["met"] is False
    line = growth(found, "peak memory")
    assert line["met"] is False and line["measured"] == pytest.approx(50.0)


def test_cold_has_an_empty_cache_and_warm_the_same_one(photos, commands):
    def child(source, cache):
        mark = pathlib.Path(cache) / "mark"
        seconds = 1.0 if mark.exists() else 9.0
        mark.touch()
        return timing.Child(seconds, 1000, "")

    commands(child)
    found = startup.first_picture(photos[0], None, 2)
    assert (found["cold"]["low"], found["cold"]["repeats"]) == (9.0, 2)
    assert found["warm"]["high"] == 1.0 and found["peak_bytes"] == 1000
