"""Stages, folders and start-up: what is slow shows, and where it shows."""

import pathlib
import sys
import time

import pytest

from id2face_jax.anonymize import images, rounds
from id2face_jax.anonymize.anonymizer import Anonymizer
from id2face_jax.anonymize.settings import Settings
from id2face_jax.anonymize.stages import STAGES
from id2face_jax.benchmark import anonymizing, bars, startup
from tests.anonymize import planted

SLOW = 0.3  # seconds a picture


@pytest.fixture
def photos(tmp_path) -> list[pathlib.Path]:
    paths = []
    for seed in range(3):
        pixels = planted.picture(seed)
        paths.append(tmp_path / f"{seed}.png")
        paths[-1].write_bytes(images.encode(images.Photo(pixels), pixels, ".png"))
    return paths


def slow(function):
    """The function, late."""

    def late(*args, **kwargs):
        time.sleep(SLOW)
        return function(*args, **kwargs)

    return late


def anonymizer() -> Anonymizer:
    return Anonymizer(
        planted.PlantedGenerator(planted.other_face),
        [planted.PlantedRecognizer()],
        planted.PlantedDetector(),
        Settings(),
    )


PLACES = {
    "decode": (images, "read"),
    "detect": (rounds, "open_picture"),
    "align": (rounds, "_requests"),
    "embed": (rounds.verify, "embed"),
    "blend": (rounds, "_paint"),
    "verify": (rounds, "_verify"),
    "encode": (images, "encode"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_slow_stage_has_the_largest_share(photos, monkeypatch, stage):
    made = anonymizer()
    if stage == "sample":
        made.tools.generator.__class__ = type(
            "Slow",
            (planted.PlantedGenerator,),
            {"__call__": slow(planted.PlantedGenerator.__call__)},
        )
    else:
        module, name = PLACES[stage]
        monkeypatch.setattr(module, name, slow(getattr(module, name)))
    found = anonymizing.measure_stages(made, photos)
    assert set(found["shares"]) == {*STAGES, "other"}
    assert sum(found["shares"].values()) == pytest.approx(1.0)
    assert max(found["shares"], key=found["shares"].get) == stage
    assert found["stages"][stage] >= SLOW
    assert found["faces"] == found["photos"] == 3
    assert found["states"] == {"anonymized": 3}


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


def stub(monkeypatch, code: str) -> None:
    """`id2face anonymize` becomes a script, whose argument is its input."""

    def command(source, out, checkpoint):
        return [sys.executable, "-c", f"import sys, os, time\n{code}", str(source)]

    monkeypatch.setattr(startup, "anonymize_command", command)


def test_memory_that_grows_with_the_folder_misses_its_figure(photos, monkeypatch):
    stub(monkeypatch, "data = b'x' * (40_000_000 * len(os.listdir(sys.argv[1])))")
    found = anonymizing.folders(photos, None, (2, 3), 1)
    assert set(found["seconds"]) == set(found["peak_bytes"]) == {"1", "2", "3"}
    (line,) = [
        line
        for line in bars.verdicts({"folders": found})
        if line["figure"].startswith("peak memory")
    ]
    assert line["met"] is False and line["measured"] > 10


def test_time_per_face_leaves_the_start_out(photos, monkeypatch):
    stub(monkeypatch, "time.sleep(0.3 + 0.5 * len(os.listdir(sys.argv[1])))")
    found = anonymizing.folders(photos, None, (2, 3), 1)
    # Interpreters start at very different speeds on a busy machine.
    assert found["seconds_per_face"] == pytest.approx([0.5, 0.5], abs=0.4)
    assert found["seconds"]["1"]["median"] > 0.8


def test_cold_has_an_empty_cache_and_warm_the_same_one(photos, monkeypatch):
    stub(
        monkeypatch,
        "mark = os.path.join(os.environ['ID2FACE_CACHE_DIR'], 'mark')\n"
        "time.sleep(0 if os.path.exists(mark) else 1.5)\nopen(mark, 'w').close()",
    )
    found = startup.first_picture(photos[0], None, 2)
    assert found["cold"]["low"] > 1.5 and found["cold"]["repeats"] == 2
    assert found["warm"]["low"] < found["cold"]["low"] - 0.5


def test_a_command_that_fails_is_an_error(photos, monkeypatch):
    stub(monkeypatch, "sys.exit('no model here')")
    with pytest.raises(ValueError, match="no model here"):
        startup.first_picture(photos[0], None, 1)
