"""Laws of Stable Diffusion's UNet as our denoiser. Its arithmetic: tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.models.recomposer import Condition
from id2face_jax.models.stable_diffusion.transformer import SpatialTransformer
from id2face_jax.models.stable_diffusion.unet import (
    StableUNet,
    Tokens,
    TokenUNet,
    step_embedding,
)
from tests.draws import normal, random_like

ZT, ZM, T = normal(2, 4, 4, 3), normal(2, 4, 4, 3, seed=1), jnp.array([0.2, 0.9])
MASK = jnp.zeros((2, 4, 4, 1)).at[:, 1:3, 1:3].set(1.0)
CONDITION = Condition(normal(2, 6), normal(2, 2, 2, 6))
INPUTS = (ZT, ZM, MASK, T, CONDITION)
ADDED = ("conv_in_known", "harmonizer_")


def make(**changes) -> TokenUNet:
    stable = StableUNet((8, 16), (1, 1), (2, 2), (0,), groups=4, **changes)
    return TokenUNet(stable, token_dim=8, identity_tokens=2, attribute_grid=2)


def shapes_of(module):
    return jax.eval_shape(module.init, jax.random.key(0), *INPUTS)["params"]


@pytest.fixture(scope="module")
def params():
    """Random everywhere, and as `init` leaves them in what is ours."""
    return random_like(shapes_of(make()))


@pytest.fixture(scope="module")
def apply():
    return jax.jit(lambda params, *inputs: make().apply({"params": params}, *inputs))


def test_a_converted_unet_starts_as_itself(params, apply):
    @jax.jit
    def init_added(key):
        fresh = make().init(key, *INPUTS)["params"]["stable"]
        return {k: v for k, v in fresh.items() if k.startswith(ADDED)}

    core, added = params["stable"], init_added(jax.random.key(0))
    assert len(added) == 6  # five harmonizers: two levels down, middle, two levels up
    out = apply(params | {"stable": core | added}, *INPUTS)

    def without(core, tokens_params, t):
        tokens = Tokens(8, 2, 2).apply({"params": tokens_params}, CONDITION)
        step = jnp.maximum(1000.0 * t - 1.0, 0.0)
        return make().stable.apply({"params": core}, ZT, step, tokens)

    plain = {k: v for k, v in core.items() if not k.startswith(ADDED)}
    expected = jax.jit(without)(plain, params["tokens"], T)
    # The additions are exact zeros; only the programs differ.
    np.testing.assert_allclose(out, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "name, index, other",
    [
        ("noisy latent", 0, normal(2, 4, 4, 3, seed=7)),
        ("surroundings", 1, normal(2, 4, 4, 3, seed=8)),
        ("mask", 2, jnp.ones((2, 4, 4, 1))),
        ("time", 3, jnp.array([0.3, 0.6])),
        ("identity", 4, Condition(normal(2, 6, seed=9), CONDITION.attributes)),
        ("attributes", 4, Condition(CONDITION.identity, normal(2, 2, 2, 6, seed=9))),
    ],
)
def test_every_input_changes_the_output(params, apply, name, index, other):
    changed = (*INPUTS[:index], other, *INPUTS[index + 1 :])
    assert np.abs(apply(params, *changed) - apply(params, *INPUTS)).max() > 1e-3


def test_rows_do_not_depend_on_their_batch(params, apply):
    whole = apply(params, *INPUTS)
    half = jax.tree.map(lambda x: x.at[0].set(0.5), INPUTS)
    np.testing.assert_allclose(apply(params, *half)[1], whole[1], rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close_and_comes_out_as_float32(params, apply):
    module = make(dtype=jnp.bfloat16)
    out = jax.jit(module.apply)({"params": params}, *INPUTS)
    expected = apply(params, *INPUTS)
    assert out.dtype == jnp.float32
    # bfloat16 has 8 bits; about thirty layers add up.
    error = np.abs(out - expected).max() / np.abs(expected).max()
    assert error < 0.1


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_recomputing_leaves_the_tree_as_it_is(remat):
    assert jax.tree.map(np.shape, shapes_of(make(remat=remat))) == jax.tree.map(
        np.shape, shapes_of(make())
    )


def test_unknown_remat_is_an_error():
    with pytest.raises(ValueError, match="train.remat is 'all'"):
        shapes_of(make(remat="all"))


def test_heads_must_divide_the_width():
    module = SpatialTransformer(num_heads=3, groups=4)
    x, context = normal(1, 2, 2, 8), normal(1, 3, 8)
    with pytest.raises(ValueError, match="8 channels do not split into 3 heads"):
        jax.eval_shape(module.init, jax.random.key(0), x, context)


def test_step_zero_is_all_cosines():
    np.testing.assert_array_equal(
        step_embedding(jnp.zeros(1), 6)[0], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    )
