"""Laws of the UNet."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.models.recomposer import Condition
from id2face_jax.models.unet import UNet
from tests.draws import normal, random_params

make = functools.partial(UNet, dims=(8, 16), depths=(1, 1), ratio=2.0, attention_from=1)
ZT, ZM, T = normal(2, 4, 4, 3), normal(2, 4, 4, 3, seed=1), jnp.array([0.2, 0.9])
MASK = jnp.zeros((2, 4, 4, 1)).at[:, 1:3, 1:3].set(1.0)
CONDITION = Condition(normal(2, 6), normal(2, 2, 2, 6))
INPUTS = (ZT, ZM, MASK, T, CONDITION)


@pytest.fixture(scope="module")
def params():
    return {"params": random_params(make(), *INPUTS)["params"]}


@pytest.fixture(scope="module")
def apply(params):
    return jax.jit(lambda *inputs: make().apply(params, *inputs))


def test_output_has_the_latents_shape_and_is_zero_at_the_start():
    variables = jax.jit(make().init)(jax.random.key(0), *INPUTS)
    out = jax.jit(make().apply)({"params": variables["params"]}, *INPUTS)
    assert out.shape == ZT.shape and out.dtype == jnp.float32
    np.testing.assert_array_equal(out, 0.0)


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
def test_every_input_changes_the_output(apply, name, index, other):
    changed = (*INPUTS[:index], other, *INPUTS[index + 1 :])
    assert np.abs(apply(*changed) - apply(*INPUTS)).max() > 1e-3


def test_a_template_changes_the_output_and_learns_nothing_from_it():
    def inputs(template):
        return (*INPUTS[:4], CONDITION.replace(template=template))

    template = normal(2, 4, 4, 3, seed=2)
    params = random_params(make(), *inputs(template))

    @jax.jit
    def look(template):
        return make().apply({"params": params["params"]}, *inputs(template))

    assert np.abs(look(template) - look(0 * template)).max() > 1e-3
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(look(x) ** 2)))(template)
    np.testing.assert_array_equal(gradient, 0.0)


def test_rows_do_not_depend_on_their_batch(apply):
    whole = apply(*INPUTS)
    alone = apply(*jax.tree.map(lambda x: x[1:], INPUTS))
    np.testing.assert_allclose(alone, whole[1:], atol=1e-5)


@pytest.mark.parametrize("remat", ["full", "dots"])
def test_remat_leaves_the_tree_as_it_is(remat):
    assert _shapes(make(remat=remat)) == _shapes(make())


def test_remat_changes_no_gradient():
    small = functools.partial(make, dims=(8,), depths=(1,), attention_from=0)
    variables = {"params": random_params(small(), *INPUTS)["params"]}

    def loss(variables, unet):
        return jnp.sum(unet.apply(variables, *INPUTS) ** 2)

    plain, saved = (
        jax.jit(jax.grad(loss), static_argnums=1)(variables, unet)
        for unet in (small(), small(remat="full"))
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        plain,
        saved,
    )


def _shapes(unet):
    """{path: (shape, dtype)} of the parameters."""
    variables = jax.eval_shape(lambda key: unet.init(key, *INPUTS), jax.random.key(0))
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables["params"])
    keystr = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    return {keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def test_parameters_stay_float32_and_bfloat16_is_close(params, apply):
    exact = apply(*INPUTS)
    rough = jax.jit(make(dtype=jnp.bfloat16).apply)(params, *INPUTS)
    assert rough.dtype == jnp.float32
    # 8 bits of mantissa through a dozen layers.
    assert jnp.mean(jnp.abs(rough - exact)) < 0.05 * jnp.std(exact)
    assert {dtype for _, dtype in _shapes(make()).values()} == {jnp.dtype("float32")}
    assert _shapes(make(dtype=jnp.bfloat16)) == _shapes(make())


def test_every_module_has_a_name_of_its_own():
    """Checkpoints and sharding rules spell the paths, so no automatic names."""
    assert not [path for path in _shapes(make()) if re.search("[A-Z]", path)]


def test_unknown_remat_is_refused():
    with pytest.raises(ValueError, match="remat is 'half'; use none or one of"):
        jax.eval_shape(
            lambda key: make(remat="half").init(key, *INPUTS), jax.random.key(0)
        )
