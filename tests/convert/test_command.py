"""`id2face convert` writes exports that the rest of the project reads."""

import argparse
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from id2face_jax.commands import convert
from id2face_jax.generation import exports
from tests.convert import foreign, onnx_files

CONFIG = "configs/smoke_full_scale.py"


def _run(file, out, config=None, overrides=()):
    args = argparse.Namespace(
        file=str(file), out=str(out), config=config, overrides=list(overrides)
    )
    return convert.run(args)


# ml_collections' loader of config files.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_autoencoder_then_unet_make_the_start_of_a_run(tmp_path, capsys):
    (tmp_path / "vae").mkdir()
    save_file(foreign.draw("AutoencoderKL"), tmp_path / "vae" / "v.safetensors")
    note = {"norm_num_groups": 4, "scaling_factor": 0.18215}
    (tmp_path / "vae" / "config.json").write_text(json.dumps(note))
    assert _run(tmp_path / "vae" / "v.safetensors", tmp_path / "ae") == 0
    config, weights = exports.load_export(tmp_path / "ae")
    assert config.autoencoder.dims == (8, 8, 16, 16)
    assert set(weights) == {"autoencoder"}

    save_file(foreign.draw("UNet2DConditionModel"), tmp_path / "u.safetensors")
    chosen = [f"--config.autoencoder.weights={tmp_path / 'ae'}"]
    assert _run(tmp_path / "u.safetensors", tmp_path / "start", CONFIG, chosen) == 0
    config, weights = exports.load_export(tmp_path / "start")
    assert config.model.kind == "stable_diffusion"
    assert set(weights) == {"model", "autoencoder"}
    assert "model of 0.07 M, autoencoder of 0.07 M" in capsys.readouterr().out


def test_unet_needs_the_config_of_its_run(tmp_path):
    save_file(foreign.draw("UNet2DConditionModel"), tmp_path / "u.safetensors")
    with pytest.raises(ValueError, match="give the run's --config"):
        _run(tmp_path / "u.safetensors", tmp_path / "out")


def test_recognizer_is_told_by_its_graph(tmp_path):
    onnx_files.save_iresnet(tmp_path / "r.onnx", foreign.draw_iresnet(), folds=True)
    onnx_files.save_mobilefacenet(tmp_path / "m.onnx", "prelu")
    for name, kind in (("r", "iresnet"), ("m", "mobilefacenet")):
        assert _run(tmp_path / f"{name}.onnx", tmp_path / name) == 0
        config, weights = exports.load_export(tmp_path / name)
        assert config.recognizer.kind == kind
        assert weights["recognizer"]["project"]["kernel"].dtype == np.float32


def test_unknown_tensors_are_named(tmp_path):
    save_file({"wte.weight": np.zeros((2, 2))}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"knows; its first tensor is wte\.weight"):
        _run(tmp_path / "w.safetensors", tmp_path / "out")


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        _run(tmp_path / "w.safetensors", tmp_path / "out")
