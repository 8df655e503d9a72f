"""Config files and overrides: found from anywhere, and mistakes told in one line."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from id2face_jax.errors import UsageError
from id2face_jax.settings import load

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = str(ROOT / "configs" / "smoke.py")


def own(folder, text, name="mine.py"):
    file = folder / name
    file.write_text(text)
    return str(file)


FROM_BASE = "from configs import base\n\n\ndef get_config():\n"
FROM_BASE += "    config = base.get_config()\n"


@pytest.mark.parametrize("spec", ["smoke", "configs/smoke.py", SMOKE])
def test_a_named_config_is_found_from_any_folder(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load.load_config(spec).train.num_steps == 6


def test_a_file_elsewhere_builds_on_shipped_ones_and_on_files_beside_it(tmp_path):
    own(tmp_path, "STEPS = 77\n", "beside_mine.py")
    text = "import beside_mine\n" + FROM_BASE
    text += "    config.train.num_steps = beside_mine.STEPS\n    return config\n"
    assert load.load_config(own(tmp_path, text)).train.num_steps == 77


def test_an_installed_package_brings_its_named_configs(tmp_path):
    """As a wheel lays it out: configs/ inside of the package, no clone around it."""
    site = tmp_path / "site"
    shutil.copytree(
        ROOT / "id2face_jax",
        site / "id2face_jax",
        ignore=shutil.ignore_patterns("pretrained", "__pycache__", "*.onnx"),
    )
    shutil.copytree(ROOT / "configs", site / "id2face_jax" / "configs")
    mine = own(tmp_path, FROM_BASE + "    config.seed = 5\n    return config\n")
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from id2face_jax.settings import load\n"
        f"assert load.__file__.startswith({str(site)!r})\n"
        "assert load.load_config('lfw128').data.repeats\n"
        f"assert load.load_config({mine!r}).seed == 5\n"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("--config.optim.lr=1", 1.0),
        ("--config.data.batch_size=32", 32),
        ("--config.model.portrait=false", False),
        ("--config.model.unet_dims=(8,16)", (8, 16)),
        ("--config.model.unet_dims=8,16", (8, 16)),
        ("--config.data.repeats=()", ()),
        ("--config.data.repeats=(('pif_', 2),)", (("pif_", 2),)),
        ("--config.train.allow_changed=model.schedule", ("model.schedule",)),
    ],
)
def test_an_override_is_read_as_its_field_is(override, value):
    name, _, text = override.removeprefix("--config.").partition("=")
    for typed in ([override], [f"--config.{name}", text]):
        found = load.load_config(SMOKE, typed)
        for part in name.split("."):
            found = found[part]
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.optim.lrr=1", "optim.lrr is no field .* did you mean optim.lr"),
        ("--config.lr=1", "lr is no field .* optim.lr"),
        ("--config.optimizer.lr=1", "did you mean optim.lr"),
        ("--config.train.batch_size=1", "did you mean .*data.batch_size"),
        ("--config.model=1", "model is no field"),
        (
            "--config.train.num_steps=abc",
            r"num_steps is 'abc'; use a whole number, 1 or more, such as "
            r"--config\.train\.num_steps=6$",
        ),
        ("--config.train.num_steps=0", "num_steps is 0; use a whole number, 1 or more"),
        ("--config.train.dtype=fp16", "'fp16'; use one of float32, bfloat16, such as"),
        ("--config.model.portrait=maybe", "'maybe'; use true or false"),
        (
            "--config.model.unet_dims=16,wide",
            r"'16,wide'; .* commas, .*such as --config\.model\.unet_dims=\"\(16,32\)\"",
        ),
        ("--config.optim.ema_decay=1.5", "ema_decay is 1.5; .* below 1, such as"),
        ("--config.optim.lr=nan", "optim.lr is nan; use a number, above 0"),
        ("--config.optim.lr", "has no value; write --config.optim.lr=VALUE"),
        ("--learning-rate=1.0", "--learning-rate=1.0: no such option; .*optim.lr=3e-4"),
        ("extra", "extra: no such option"),
    ],
)
def test_a_wrong_override_is_told_with_the_way_out(override, message):
    with pytest.raises(UsageError, match=message):
        load.load_config(SMOKE, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", "mine.py, line 1: invalid syntax; correct the file"),
        ("x = 1\n", "mine.py has no get_config"),
        ("import nothing_there\n", "line 1: ModuleNotFoundError: .*nothing_there"),
        (FROM_BASE + "    config.optim.lr = undefined\n", "line 6: NameError"),
        (FROM_BASE, "returns a NoneType; return a ml_collections.ConfigDict"),
        (
            FROM_BASE + "    config.optim.lrr = 1.0\n    return config\n",
            "optim.lrr is no field of the config; did you mean optim.lr",
        ),
        (
            FROM_BASE + "    config.optim.b1 = 7.0\n    return config\n",
            "optim.b1 is 7.0; use a number",
        ),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_place(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        load.load_config(own(tmp_path, text))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.deployed_every=1"], "returned_every is 4 .*and not 1"),
        (["loss.returned_every=6", "data.batch_size=12"], "use a multiple of it"),
        (["loss.returned_every=16"], "need a multiple of 16"),
        (["loss.second_recognizer=x", "loss.second_dim=0"], "second_dim is 0; set it"),
        (
            ["loss.second_recognizer=x", "loss.deployed_every=0"],
            "set loss.deployed_every",
        ),
    ],
)
def test_kinds_of_pairs_and_their_judges_must_fit_together(overrides, message):
    with pytest.raises(UsageError, match=message):
        load.load_config(SMOKE, [f"--config.{x}" for x in overrides])


@pytest.mark.parametrize("spec", ["none.py", "/nowhere/configs/smoke.py", ".", "lfw"])
def test_a_missing_config_is_told_with_those_that_there_are(spec):
    with pytest.raises(UsageError, match="is no .py file; .*one of .*lfw128.*smoke"):
        load.load_config(spec)
