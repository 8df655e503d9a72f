"""Stable Diffusion's weights, under every name they go by, become the same networks."""

import jax
import numpy as np
import pytest

from configs import lfw128, smoke_full_scale
from id2face_jax.convert import diffusers, start
from id2face_jax.models import build
from id2face_jax.training import steps
from tests import runs
from tests.convert import foreign


def _squeezed(tensors):
    return {
        name: value.reshape(value.shape[:2]) if value.shape[2:] == (1, 1) else value
        for name, value in tensors.items()
    }


def _assert_same_tensors(one, other):
    runs.assert_same(_squeezed(one), _squeezed(other))


def test_all_spellings_of_the_autoencoder_are_the_same_tensors():
    tensors = foreign.draw("AutoencoderKL")
    for spelt in (
        tensors,
        foreign.with_old_attention(tensors),
        foreign.with_compvis_names(tensors, levels=4),
    ):
        read, left_out = diffusers.autoencoder_tensors(spelt)
        assert left_out == []
        _assert_same_tensors(read, tensors)


def test_a_full_compvis_checkpoint_gives_its_first_stage_and_says_what_it_left():
    tensors = foreign.draw("AutoencoderKL")
    whole = {
        f"first_stage_model.{name}": value
        for name, value in foreign.with_compvis_names(tensors, levels=4).items()
    }
    whole |= {
        "first_stage_model.loss.logvar": np.zeros(()),
        "model.diffusion_model.out.2.bias": np.zeros(4),
        "betas": np.zeros(10),
    }
    read, left_out = diffusers.autoencoder_tensors(whole)
    _assert_same_tensors(read, tensors)
    assert sorted(left_out) == [
        "betas",
        "loss.logvar",
        "model.diffusion_model.out.2.bias",
    ]


def test_autoencoder_tensors_find_their_places():
    # CompVis': its 1x1 convolutions stand for dense layers.
    tensors = foreign.draw("AutoencoderKL")
    spelt = foreign.with_compvis_names(tensors, levels=4)
    read, _ = diffusers.autoencoder_tensors(spelt)
    model = build.make_autoencoder(smoke_full_scale.get_config())
    params = diffusers.convert_autoencoder(read, model, "w")
    np.testing.assert_array_equal(
        params["decoder"]["mid_block_attentions_0"]["to_out_0"]["kernel"],
        tensors["decoder.mid_block.attentions.0.to_out.0.weight"].T,
    )
    np.testing.assert_array_equal(
        params["decoder"]["up_blocks_0_upsamplers_0"]["conv"]["kernel"],
        tensors["decoder.up_blocks.0.upsamplers.0.conv.weight"].transpose(2, 3, 1, 0),
    )
    del read["decoder.conv_out.bias"]
    with pytest.raises(ValueError, match=r"lacks decoder\.conv_out\.bias"):
        diffusers.convert_autoencoder(read, model, "w")


@pytest.mark.parametrize("spell", [lambda t: t, foreign.with_old_attention])
def test_sizes_are_read_off_the_tensors(spell):
    tensors, _ = diffusers.autoencoder_tensors(spell(foreign.draw("AutoencoderKL")))
    found = diffusers.autoencoder_config(tensors, {"norm_num_groups": 4}, "w")
    wanted = smoke_full_scale.get_config().autoencoder
    assert {name: wanted[name] for name in found} == dict(found.items())


def test_a_quantising_autoencoder_is_recognized():
    tensors = foreign.with_compvis_names(foreign.draw("VQModel"), 2)
    tensors, _ = diffusers.autoencoder_tensors(tensors)
    found = diffusers.autoencoder_config(tensors, {}, "w")
    assert (found.codebook, found.attention_levels) == (32, (1,))
    assert (found.scale, found.latent_channels) == (1.0, 3)


@pytest.fixture(scope="module")
def shapes():
    """The parameters of the toy, as shapes."""
    task = steps.make_task(smoke_full_scale.get_config())
    return jax.eval_shape(task.init, jax.random.key(0)).params


def test_a_started_model_holds_the_unet_and_all_else(shapes):
    tensors = foreign.draw("UNet2DConditionModel")
    model = start.start_model(smoke_full_scale.get_config(), tensors, "w")
    assert jax.tree.map(np.shape, model) == jax.tree.map(np.shape, shapes)
    stable = model["unet"]["stable"]
    block = stable["mid_block_attentions_0"]["transformer_blocks_0"]
    np.testing.assert_array_equal(
        block["attn2"]["to_k"]["kernel"],
        tensors["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].T,
    )
    np.testing.assert_array_equal(
        stable["up_blocks_1_resnets_0"]["conv_shortcut"]["kernel"],
        tensors["up_blocks.1.resnets.0.conv_shortcut.weight"][:, :, 0, 0].T,
    )
    assert not np.any(stable["conv_in_known"]["kernel"])


def test_an_inpainting_unet_fills_the_extra_channels(shapes):
    nine = np.random.default_rng(3).normal(size=(8, 9, 3, 3)).astype(np.float32)
    tensors = foreign.draw("UNet2DConditionModel") | {"conv_in.weight": nine}
    stable = diffusers.convert_unet(tensors, shapes["unet"]["stable"], "w")
    ours = [stable[name]["kernel"] for name in ("conv_in", "conv_in_known")]
    joined = np.concatenate(ours, axis=2)
    np.testing.assert_array_equal(joined, nine.transpose(2, 3, 1, 0))


def test_unet_tensors_without_a_place_are_named(shapes):
    tensors = foreign.draw("UNet2DConditionModel")
    tensors["add_embedding.linear_1.weight"] = np.zeros((4, 4))
    with pytest.raises(ValueError, match=r"add_embedding\.linear_1\.weight, which no"):
        diffusers.convert_unet(tensors, shapes["unet"]["stable"], "w")


def test_the_embedded_model_has_no_place_for_a_unet():
    with pytest.raises(ValueError, match="model.kind is 'embedded'"):
        start.start_model(lfw128.get_config(), {}, "w")


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ({"attention_head_dim": 4}, r"\(4, 4\) attention heads"),
        ({"attention_head_dim": [2, 4]}, r"\(2, 4\) attention heads"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"norm_num_groups": 32}, "norm_num_groups=32"),
    ],
)
def test_a_unet_that_is_accepted_is_refused_with_one_field_of_another_kind(
    found, complaint
):
    config = smoke_full_scale.get_config()
    right = {"attention_head_dim": 2, "norm_num_groups": 4, "act_fn": "silu"}
    diffusers.check_unet_config(right, config, "w")
    with pytest.raises(ValueError, match=complaint):
        diffusers.check_unet_config(right | found, config, "w")
