"""Sampling: a face depends on its own seed alone, and the verbs end to end."""

import json

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from id2face_jax import cli
from id2face_jax.data import pipeline
from id2face_jax.faces import align
from id2face_jax.generation import exports, sampling
from id2face_jax.training import grids, steps
from tests import draws, runs

GEOMETRY = align.geometry_of(runs.tiny_config().data)
SETTINGS = {"mode": "embedding", "num_steps": 2}


@pytest.fixture(scope="module")
def config():
    return ml_collections.FrozenConfigDict(runs.tiny_config("id2face"))


@pytest.fixture(scope="module")
def weights(config):
    """Random parameters without zeros, so that every input has a say."""
    state = jax.eval_shape(steps.make_task(config).init, jax.random.key(0))
    shapes = {"model": state.params, "autoencoder": state.frozen["autoencoder"]}
    return jax.device_get(draws.random_like(shapes, scale=0.2))


def load(config, num):
    return sampling.load_faces(pipeline.open_source(config, "validation"), num)


@pytest.fixture(scope="module")
def export(config, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampling") / "export"
    return exports.save_export(folder, config, weights)


def test_a_face_does_not_depend_on_its_neighbors(config, weights):
    # Eleven faces are a full batch and a padded one.
    faces, seeds = load(config, 11), np.arange(11, dtype=np.uint32)
    together = sampling.sample(config, weights, faces, seeds, **SETTINGS)
    assert together.shape == (11, 32, 32, 3) and together.dtype == np.uint8
    order = np.random.default_rng(0).permutation(11)
    shuffled = sampling.sample(
        config,
        weights,
        jax.tree.map(lambda x: x[order], faces),
        seeds[order],
        **SETTINGS,
    )
    np.testing.assert_array_equal(shuffled, together[order])
    alone = sampling.sample(
        config, weights, jax.tree.map(lambda x: x[9:10], faces), seeds[9:10], **SETTINGS
    )
    np.testing.assert_array_equal(alone[0], together[9])


def test_seed_mode_and_angle_have_a_say(config, weights):
    faces, seeds = load(config, 2), np.uint32([1, 2])

    def sample(seeds=seeds, **changes):
        settings = {**SETTINGS, **changes}
        return sampling.sample(config, weights, faces, seeds, **settings)

    usual = sample()
    assert np.any(usual != sample(seeds + 9))
    assert np.any(usual != sample(mode="own"))
    assert np.any(usual != sample(angle=150.0))
    np.testing.assert_array_equal(usual, sample(angle=90.0))


def test_columns_start_with_the_source_and_follow_the_seed(config, weights):
    faces = load(config, 2)
    cells, labels = sampling.sample_columns(config, weights, faces, **SETTINGS)
    assert labels == ["source", "own identity"] + [f"anonymous {i}" for i in (1, 2, 3)]
    assert cells.shape == (2, 5, 32, 32, 3)
    np.testing.assert_array_equal(cells[:, 0], faces.images)
    assert np.any(cells[:, 2] != cells[:, 3])
    again, _ = sampling.sample_columns(config, weights, faces, **SETTINGS, seed=0)
    np.testing.assert_array_equal(cells, again)
    other, _ = sampling.sample_columns(config, weights, faces, **SETTINGS, seed=1)
    assert np.any(cells[:, 2] != other[:, 2])


@pytest.mark.parametrize("num", [0, 62])
def test_more_faces_than_there_are_is_an_error(config, num):
    with pytest.raises(ValueError, match=f"num is {num} and the records hold 61"):
        load(config, num)


def test_the_verb_writes_a_labelled_grid(export, tmp_path, capsys):
    out = tmp_path / "new" / "grid.png"
    argv = ["sample", "--checkpoint", str(export), "--records", "synthetic"]
    assert cli.main([*argv, "--num", "2", "--steps", "2", "--out", str(out)]) == 0
    # Five columns of 32 px, magnified to 96.
    with Image.open(out) as image:
        assert image.width == 5 * (96 + 4) + 4
    assert "2 faces of validation in" in capsys.readouterr().out


def test_fewer_faces_than_asked_for_are_all_taken(
    export, tmp_path, capsys, monkeypatch
):
    few = pipeline.SyntheticSource(32, num_photos=3, dim=16, geometry=GEOMETRY)
    splits = []
    monkeypatch.setattr(
        pipeline, "open_source", lambda config, split: splits.append(split) or few
    )
    # A folder of one's own has no validation people, perhaps.
    records = tmp_path / "records"
    records.mkdir()
    info = {"splits": [{"name": "train"}, {"name": "test"}]}
    (records / "dataset_info.json").write_text(json.dumps(info))
    out = tmp_path / "grid.png"
    argv = ["sample", "--checkpoint", str(export), "--records", str(records)]
    argv += ["--steps", "2", "-o", str(out)]
    assert cli.main(argv) == 0
    told = capsys.readouterr()
    assert told.err == f"{records}: test has 3 faces, all are taken\n"
    assert "3 faces of test in" in told.out and splits == ["test"]
    assert cli.main([*argv, "--split", "validation"]) == 2
    assert "no split 'validation'; it has train, test" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--strength", "181", "--strength is 181; use 0 to 180"),
        ("--seed", "-1", "--seed is -1"),
        ("--num", "0", "--num is 0; use 1 face or more"),
        ("--steps", "0", "--steps is 0"),
        ("--temperature", "1.1", "--temperature is 1.1; use 0 to 1"),
        ("--out", "grid.jpg", "--out is grid.jpg; use a name that ends in .png"),
        ("--records", "/none", "/none holds no records"),
    ],
)
def test_what_the_verb_cannot_do_is_one_line(
    export, tmp_path, capsys, option, value, message
):
    argv = ["sample", "--checkpoint", str(export), "--records", "synthetic"]
    argv += ["--num", "1", "--out", str(tmp_path / "grid.png"), option, value]
    assert cli.main(argv) == (1 if option == "--records" else 2)
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_autoencoder_cannot_sample(weights, tmp_path, capsys):
    config = ml_collections.FrozenConfigDict(runs.tiny_config("autoencoder"))
    out = exports.save_export(
        tmp_path / "ae", config, {"autoencoder": weights["autoencoder"]}
    )
    argv = [
        "sample",
        "--checkpoint",
        str(out),
        "--records",
        "synthetic",
        "--out",
        "x.png",
    ]
    assert cli.main(argv) == 1
    assert "autoencoder stage, which cannot sample" in capsys.readouterr().err


def test_an_export_carries_its_way_of_sampling(config, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "load_run", lambda *_: (config, weights, 7))
    argv = ["export", "--checkpoint", "run", "--out", str(tmp_path / "out")]
    assert cli.main([*argv, "--steps", "9", "--temperature", "0.25"]) == 0
    model = exports.load_export(tmp_path / "out")[0].model
    assert (model.sample_steps, model.sample_temperature) == (9, 0.25)


def test_the_export_verb_refuses_what_is_no_run(tmp_path, capsys):
    argv = ["export", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(argv) == 1
    assert "no checkpoint" in capsys.readouterr().err


def test_a_grid_wants_a_title_a_column():
    with pytest.raises(ValueError, match="2 columns and 1 labels"):
        grids.make_grid(np.zeros((1, 2, 8, 8, 3), np.uint8), ["one"])


def test_a_grid_shows_its_cells():
    cells = np.random.default_rng(0).integers(0, 255, (2, 2, 128, 128, 3), np.uint8)
    grid = grids.make_grid(cells, ["left", "right"])
    bottom, right = grid.shape[:2]
    np.testing.assert_array_equal(
        grid[bottom - 132 : -4, right - 132 : -4], cells[1, 1]
    )
    assert grid[:20].min() < 100  # ink


def test_a_picture_is_written_whole(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    grids.save_png(tmp_path / "a" / "b.png", image)
    with Image.open(tmp_path / "a" / "b.png") as written:
        np.testing.assert_array_equal(written, image)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]
