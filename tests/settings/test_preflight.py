"""What `id2face train` tells before anything heavy is loaded."""

import json
import pathlib
import subprocess
import sys

import pytest

from id2face_jax.errors import UsageError
from id2face_jax.settings import load, preflight, saved

ROOT = pathlib.Path(__file__).resolve().parents[2]


def config(*overrides, name="smoke"):
    return load.load_config(name, [f"--config.{text}" for text in overrides])


def export(folder, of):
    (folder / "weights").mkdir(parents=True)
    (folder / "config.json").write_text(saved.to_json(of))
    return folder


def run_in_progress(folder, of, step=30):
    place = folder / "checkpoints" / str(step) / "config"
    place.mkdir(parents=True)
    (place / "metadata").write_text(saved.to_json(of))
    return folder


def records(folder, *splits):
    folder.mkdir()
    info = {"splits": [{"name": name} for name in splits]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def test_a_run_that_fits_passes(tmp_path):
    preflight.check_run(config(), tmp_path / "new" / "run")
    preflight.check_run(config(), run_in_progress(tmp_path / "run", config()))
    of = config(f"data.records={records(tmp_path / 'records', 'train')}")
    preflight.check_run(of, tmp_path / "other")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["autoencoder.weights="], "autoencoder.weights is empty .*--config autoenc"),
        (["autoencoder.weights=nowhere"], "weights is nowhere, which is no export"),
        (
            ["loss.second_recognizer=nowhere", "loss.second_dim=8"],
            "second_recognizer is nowhere, which is no export; `npm pack",
        ),
        (["train.init_from=nowhere"], "train.init_from is nowhere, which is no export"),
        (["task=finishing"], "task finishing needs what it finishes; give"),
        (["data.records=nowhere"], "nowhere, which is no folder; .*--out nowhere"),
    ],
)
def test_a_missing_file_is_told(tmp_path, overrides, message):
    with pytest.raises(UsageError, match=message):
        preflight.check_run(config(*overrides), tmp_path / "run")


def test_a_run_given_for_an_export_is_told(tmp_path):
    run = run_in_progress(tmp_path / "run", config())
    with pytest.raises(UsageError, match=f"training run, no export.*checkpoint {run}"):
        preflight.check_run(config(f"autoencoder.weights={run}"), tmp_path / "new")


def test_a_missing_split_is_told_with_those_that_there_are(tmp_path):
    place = records(tmp_path / "records", "train", "test")
    of = config(f"data.records={place}", "data.split=training")
    with pytest.raises(UsageError, match="no split 'training'; it has train, test"):
        preflight.check_run(of, tmp_path / "run")


def test_a_run_in_progress_says_what_differs(tmp_path):
    run = run_in_progress(tmp_path, config())
    other = config("model.unet_dims=16,64", "data.pair_prob=0.5", "optim.lr=1")
    with pytest.raises(UsageError) as error:
        preflight.check_run(other, run)
    line = str(error.value)
    assert "model.unet_dims is (16, 32) there and (16, 64) here" in line
    assert "data.pair_prob is 0.7 there and 0.5 here" in line
    assert "optim" not in line and "Set these fields back, or use another" in line


def test_a_damaged_config_of_a_run_is_left_to_who_restores_it(tmp_path):
    run = run_in_progress(tmp_path, config())
    (run / "checkpoints" / "30" / "config" / "metadata").write_text("{")
    preflight.check_run(config(), run)


def test_a_warm_start_with_another_schedule_goes_on_when_asked(tmp_path):
    start = export(tmp_path / "export", config())
    changes = ["model.schedule_shift=2.0", "model.prediction=v"]
    changed = config(*changes, f"train.init_from={start}")
    with pytest.raises(UsageError) as error:
        preflight.check_run(changed, tmp_path / "run")
    line = str(error.value)
    assert "model.schedule_shift is 1.0 there and 2.0 here" in line
    asked = "--config.train.allow_changed=model.prediction,model.schedule_shift"
    assert asked in line
    allowed = config(
        *changes, f"train.init_from={start}", asked.removeprefix("--config.")
    )
    preflight.check_run(allowed, tmp_path / "run")
    told = saved.check_start(config(), allowed, str(start))
    assert told == [
        "model.prediction is 'preconditioned' there and 'v' here",
        "model.schedule_shift is 1.0 there and 2.0 here",
    ]


def test_finishing_starts_from_the_stage_before(tmp_path):
    start = export(tmp_path / "export", config())
    asked = ["task=finishing", f"train.init_from={start}"]
    preflight.check_run(config(*asked), tmp_path / "run")
    with pytest.raises(UsageError, match="unet_dims is"):
        preflight.check_run(config(*asked, "model.unet_dims=16,64"), tmp_path / "run")


def test_no_permission_makes_other_networks_fit(tmp_path):
    start = export(tmp_path / "export", config())
    changed = config(
        "model.schedule_shift=2.0",
        "model.unet_dims=16,64",
        f"train.init_from={start}",
        "train.allow_changed=model.schedule_shift",
    )
    with pytest.raises(UsageError, match="unet_dims is .*start from another export"):
        preflight.check_run(changed, tmp_path / "run")


def test_losses_and_the_sampler_may_differ_unasked(tmp_path):
    start = export(tmp_path / "export", config())
    changes = ["loss.identity_kl=0.5", "model.sample_steps=9", "optim.lr=1"]
    changed = config(*changes, f"train.init_from={start}")
    preflight.check_run(changed, tmp_path / "run")


def test_a_workdir_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is a file; use a folder"):
        preflight.check_run(config(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "lfw128"],  # no records here, no autoencoder
        ["--config", "smoke", "--config.train.dtype=fp16"],
        ["--config", "smoke", "--config.optim.lrr=1"],
        ["--config", "nowhere.py"],
        ["--config", "smoke", "--distributed", "many"],
        ["--config", "smoke", "--patience", "0"],
    ],
    ids=lambda arguments: " ".join(arguments[1:]),
)
def test_mistakes_are_one_line_of_usage_before_jax_is_loaded(arguments, tmp_path):
    code = (
        "import sys\nfrom id2face_jax import cli\n"
        f"code = cli.main(['train', '--workdir', 'run', *{arguments!r}])\n"
        "heavy = {'jax', 'orbax', 'grain', 'tensorflow_datasets', 'flax'}\n"
        "print(code, heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split("\n")[0] == "2 set()", done.stderr
    assert done.stderr.startswith("id2face train: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_with_the_second_recognizer_that_it_has():
    """With another one, or none, its probe would have other parameters, or none."""
    with_one = config("loss.second_recognizer=runs/faceres")
    for other in ("", "runs/other"):
        asked = config(f"loss.second_recognizer={other}")
        found = saved.differences(with_one, asked, saved.RUN_FIELDS)
        assert list(found) == ["loss.second_recognizer"]
    assert not saved.differences(with_one, with_one, saved.RUN_FIELDS)
