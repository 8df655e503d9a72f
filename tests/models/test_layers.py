"""Laws of the layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.models import layers
from tests.draws import normal, random_params


def _apply(module, params, *args):
    return jax.jit(module.apply)(params, *args)


def _init_apply(module, *args):
    params = jax.jit(module.init)(jax.random.key(0), *args)
    return params, _apply(module, params, *args)


def test_depth_to_space_inverts_space_to_depth():
    x = normal(2, 8, 12, 3)
    folded = layers.space_to_depth(x, 4)
    assert folded.shape == (2, 2, 3, 48)
    np.testing.assert_array_equal(layers.depth_to_space(folded, 4), x)


def test_space_to_depth_keeps_a_cell_together():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    folded = layers.space_to_depth(x, 2)
    assert sorted(folded[0, 0, 1].tolist()) == [2.0, 3.0, 6.0, 7.0]


def test_overlap_add_lays_each_patch_over_its_cell():
    patch, tokens = 2, normal(1, 3, 4, 4 * 4 * 3)
    out = layers.overlap_add(tokens, patch)
    canvas = np.zeros((8, 10, 3), np.float32)
    for i, j in np.ndindex(3, 4):
        canvas[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += tokens[0, i, j].reshape(4, 4, 3)
    np.testing.assert_allclose(out[0], canvas[1:-1, 1:-1], atol=1e-6)


def test_overlap_add_of_equal_smooth_patches_has_no_block_borders():
    """Patches that are a partition of unity add up to a flat picture."""
    ramp = jnp.array([0.25, 0.75, 0.75, 0.25])
    tokens = jnp.tile((ramp[:, None] * ramp[None]).reshape(16), (1, 5, 5, 1))
    out = layers.overlap_add(tokens, 2)[0, 2:-2, 2:-2, 0]
    np.testing.assert_allclose(out, 1.0, atol=1e-6)


def test_resize_map_goes_up_by_copies_and_down_by_means():
    x = normal(2, 4, 4, 3)
    up = layers.resize_map(x, 8)
    assert up.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(up[:, ::2, 1::2], x)
    np.testing.assert_allclose(layers.resize_map(up, 4), x, atol=1e-6)
    mean = layers.resize_map(x, 1)[:, 0, 0]
    np.testing.assert_allclose(mean, x.mean((1, 2)), atol=1e-6)
    np.testing.assert_array_equal(layers.resize_map(x, 4), x)


@pytest.mark.parametrize("size", [3, 6])
def test_resize_map_refuses_a_size_that_does_not_fit(size):
    with pytest.raises(ValueError, match=f"map of 4x4 cells .* {size}x{size}"):
        layers.resize_map(jnp.zeros((1, 4, 4, 1)), size)


def test_time_embedding_tells_all_training_times_apart():
    t = jnp.linspace(0.0, 1.0, 1000)
    e = layers.time_embedding(t, 32)
    assert e.shape == (1000, 32)
    np.testing.assert_allclose((e**2).sum(-1), 16.0, rtol=1e-5)
    gaps = jnp.linalg.norm(jnp.diff(e, axis=0), axis=-1)
    assert np.all(gaps > 0.1)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_rms_norm_has_unit_rms_whatever_the_scale(scale):
    y = layers.rms_norm(scale * normal(3, 5, 64))
    np.testing.assert_allclose((y**2).mean(-1), 1.0, rtol=2e-2)


def test_rms_norm_of_zeros_is_zero_in_value_and_finite_in_gradient():
    zeros = jnp.zeros((2, 8))
    np.testing.assert_array_equal(layers.rms_norm(zeros), 0.0)
    gradient = jax.jit(jax.grad(lambda x: layers.rms_norm(x).sum()))(zeros)
    assert np.all(np.isfinite(gradient))


def test_shift_conv_is_a_depthwise_convolution():
    x = normal(2, 6, 5, 4)
    params, y = _init_apply(layers.ShiftConv(), x)
    kernel = params["params"]["kernel"][:, :, None, :]
    expected = jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    "module, at_start",
    [(layers.Mlp(2.0), 0.0), (layers.MixBlock(2.0), 1.0), (layers.Attention(8), 1.0)],
    ids=["mlp", "mix_block", "attention"],
)
def test_residual_branches_are_silent_at_initialisation(module, at_start):
    x = normal(2, 4, 4, 16)
    _, y = _init_apply(module, x)
    np.testing.assert_array_equal(y, at_start * x)


def test_attention_sees_all_positions_and_knows_where_they_are():
    module, x = layers.Attention(8), normal(1, 4, 4, 16)
    params = random_params(module, x)
    y = _apply(module, params, x)
    far = _apply(module, params, x.at[0, 3, 3].add(1.0))
    assert np.abs(far[0, 0, 0] - y[0, 0, 0]).max() > 1e-4
    turned = _apply(module, params, x[:, ::-1])[:, ::-1]
    assert np.abs(turned - y).max() > 1e-3


@pytest.mark.parametrize(
    "module",
    [layers.ShiftConv, layers.MixBlock, layers.Attention],
    ids=lambda module: module.__name__,
)
def test_bfloat16_is_close_to_float32(module):
    kwargs = {"ratio": 2.0} if module is layers.MixBlock else {}
    x = normal(2, 4, 4, 64)
    params = random_params(module(**kwargs), x)
    exact = _apply(module(**kwargs), params, x)
    rough = _apply(module(dtype=jnp.bfloat16, **kwargs), params, x)
    scale = jnp.std(exact)
    # bfloat16 keeps 8 bits: 0.4 % a rounding, and a handful of them in a row.
    assert np.abs(rough - exact).mean() < 0.02 * scale
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
