"""Stable Diffusion's networks equal diffusers', tiny and at their real widths."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from id2face_jax.convert import diffusers as convert
from id2face_jax.models import build
from id2face_jax.models.stable_diffusion.unet import StableUNet
from tests.convert import foreign


def _numpy(network) -> dict:
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _convert_autoencoder(network):
    """(our module, our parameters) of a diffusers autoencoder."""
    tensors, left_out = convert.autoencoder_tensors(_numpy(network))
    assert left_out == []
    config = ml_collections.ConfigDict({"train": {"dtype": "float32"}})
    note = {"norm_num_groups": network.config.norm_num_groups}
    config.autoencoder = convert.autoencoder_config(tensors, note, "reference")
    model = build.make_autoencoder(config)
    return model, convert.convert_autoencoder(tensors, model, "reference")


@pytest.mark.parametrize("size", ["tiny", "sd"])
def test_autoencoder_kl(references, draw, assert_parity, size):
    sizes = references.AUTOENCODERS[size]
    network = references.autoencoder_kl(sizes)
    model, params = _convert_autoencoder(network)
    ours, theirs = draw(1, 3, sizes["side"], sizes["side"])
    mean, logvar = jax.jit(model.apply, static_argnames="method")(
        {"params": params}, ours, method="posterior"
    )
    posterior = network.encode(theirs).latent_dist
    assert_parity(f"AutoencoderKL {size}: encode, mean", mean, posterior.mean)
    assert_parity(f"AutoencoderKL {size}: encode, logvar", logvar, posterior.logvar)
    ours, theirs = draw(1, 4, sizes["side"] // 8, sizes["side"] // 8)
    image = jax.jit(model.apply, static_argnames="method")(
        {"params": params}, ours * model.scale, method="decode"
    )
    assert_parity(f"AutoencoderKL {size}: decode", image, network.decode(theirs).sample)


def test_vq_model(references, draw, assert_parity):
    network = references.vq_model()
    model, params = _convert_autoencoder(network)
    apply = jax.jit(model.apply, static_argnames="method")
    ours, theirs = draw(2, 3, 16, 16)
    z = apply({"params": params}, ours, method="encode")
    assert_parity("VQModel tiny: encode", z, network.encode(theirs).latents)
    # Spread over the codebook, which PyTorch draws within 1 / 32.
    ours, theirs = (x / 32 for x in draw(2, 3, 8, 8))
    image = apply({"params": params}, ours, method="decode")
    assert_parity("VQModel tiny: decode", image, network.decode(theirs).sample)


def _unet_error(network, sizes, heads, draw, assert_parity, name):
    model = StableUNet(
        sizes["dims"],
        (sizes["depth"],) * len(sizes["dims"]),
        heads,
        tuple(i for i, attends in enumerate(sizes["attends"]) if attends),
        groups=sizes["groups"],
    )
    side = sizes["side"]
    ours, theirs = draw(2, 4, side, side)
    context, their_context = draw(2, 7, sizes["context"], seed=2)
    step = np.array([3.0, 981.0], np.float32)
    # The extra channels are there; their kernel is zero, as at the start of a run.
    known, _ = draw(2, 5, side, side, seed=3)
    arguments = (ours, jnp.asarray(step), context, known)
    expected = jax.eval_shape(model.init, jax.random.key(0), *arguments)["params"]
    params = convert.convert_unet(_numpy(network), expected, "reference")
    kernel = expected["conv_in_known"]["kernel"]
    params["conv_in_known"] = {"kernel": np.zeros(kernel.shape, kernel.dtype)}
    out = jax.jit(model.apply)({"params": params}, *arguments)
    reference = network(theirs, _tensor_like(theirs, step), their_context).sample
    assert_parity(name, out, reference)


def _tensor_like(tensor, values):
    return tensor.new_tensor(values)


@pytest.mark.parametrize("size", ["tiny", "sd"])
def test_unet(references, draw, assert_parity, size):
    sizes = references.UNETS[size]
    heads = (sizes["heads"],) * len(sizes["dims"])
    name = f"UNet2DConditionModel {size}"
    _unet_error(references.unet(sizes), sizes, heads, draw, assert_parity, name)


def test_unet_of_version_two(references, draw, assert_parity):
    # Linear projections, and heads that grow with the width.
    sizes = references.UNETS["tiny"]
    changes = {"use_linear_projection": True, "attention_head_dim": (2, 4)}
    network = references.unet(sizes, **changes)
    name = "UNet2DConditionModel tiny, as in version 2"
    _unet_error(network, sizes, (2, 4), draw, assert_parity, name)


def test_layouts_of_the_ordinary_tests_are_todays(references):
    networks = {
        "AutoencoderKL": references.autoencoder_kl(references.AUTOENCODERS["tiny"]),
        "VQModel": references.vq_model(),
        "UNet2DConditionModel": references.unet(references.UNETS["tiny"]),
    }
    for name, network in networks.items():
        shapes = {k: list(v.shape) for k, v in network.state_dict().items()}
        assert shapes == foreign.LAYOUTS[name]


def test_compvis_names_are_what_diffusers_takes_them_for(references, torch):
    from diffusers.loaders import single_file_utils

    network = references.autoencoder_kl(references.AUTOENCODERS["tiny"])
    compvis = foreign.with_compvis_names(_numpy(network), levels=4)
    as_tensors = {k: torch.from_numpy(np.array(v)) for k, v in compvis.items()}
    theirs = single_file_utils.convert_ldm_vae_checkpoint(
        as_tensors, dict(network.config)
    )
    ours, _ = convert.autoencoder_tensors(compvis)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name].reshape(value.shape), value.numpy())
