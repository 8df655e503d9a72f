"""Attention: one law for every kernel, and which is taken where."""

import importlib.util
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from configs import smoke
from id2face_jax.models import attention, build
from id2face_jax.models.stable_diffusion.transformer import SpatialTransformer
from id2face_jax.models.unet import rematerialised
from id2face_jax.plan import chips, estimate, hlo
from id2face_jax.settings import saved
from id2face_jax.training import sharding
from tests import runs
from tests.draws import normal

WIDE = (4, 1024, 2, 40)  # rows, positions, heads, channels of a head


def abstract_mesh(platform: str) -> AbstractMesh:
    """Of four chips that are not here."""
    device = jax.sharding.AbstractDevice("a chip", 1, platform)
    types = (AxisType.Auto,) * 2
    return AbstractMesh((2, 2), sharding.AXES, types, abstract_device=device)


def taken(platform, q=WIDE, k=None, dtype=jnp.bfloat16, kernel="auto"):
    with jax.sharding.use_abstract_mesh(abstract_mesh(platform)):
        return attention.choose(q, q if k is None else k, jnp.dtype(dtype), kernel)


def gradients(function, *arrays):
    """(o, dq, dk, dv) under a loss that weighs every element of o differently."""
    weights = normal(*arrays[0].shape, seed=9)

    def loss(*arrays):
        out = function(*arrays)
        return (out * weights).sum(), out

    grads, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*arrays)
    return out, *grads


def test_the_kernel_for_tpus_computes_what_xla_computes():
    q, k, v = (normal(1, 256, 2, 40, seed=seed) for seed in range(3))
    found = gradients(lambda *a: attention.splash(*a, interpret=True), q, k, v)
    expected = gradients(lambda *a: attention.attend(*a, "xla"), q, k, v)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", attention.KERNELS)
def test_on_cpu_every_bit_is_that_of_xlas_attention(kernel):
    arrays = [normal(*WIDE, seed=seed).astype(jnp.bfloat16) for seed in range(3)]
    mesh = runs.make_mesh(2, 2)
    function = sharding.split_rows(lambda *a: attention.attend(*a, kernel), mesh)
    found = gradients(function, *arrays)
    runs.assert_same(found, gradients(jax.nn.dot_product_attention, *arrays))


@pytest.mark.parametrize("platform, kernel", [("tpu", "splash"), ("gpu", "cudnn")])
def test_large_attentions_in_half_precision_take_the_chips_kernel(platform, kernel):
    assert taken(platform) == kernel
    assert taken(platform, kernel="xla") == "xla"
    assert taken(platform, dtype=jnp.float32) == "xla"
    assert taken(platform, (4, 512, 2, 40)) == "xla"
    assert taken(platform, k=(4, 68, 2, 40)) == "xla"
    assert taken("cpu") == "xla"


def test_shapes_that_a_kernel_does_not_know_fall_back():
    assert taken("tpu", (4, 1024 + 64, 2, 40)) == "xla"  # not whole registers
    assert taken("tpu", (6, *WIDE[1:])) == "xla"  # rows that four chips do not divide
    assert taken("tpu", (4, 1024, 1, 512)) == "splash"
    assert taken("tpu", (4, 1024, 1, 1024)) == "xla"
    assert taken("gpu", (4, 1024, 2, 44)) == "xla"
    assert taken("gpu", (4, 1024, 1, 512)) == "xla"
    assert taken("gpu", (6, *WIDE[1:])) == "cudnn"


def test_without_a_mesh_no_chip_is_known_and_xla_attends():
    assert attention.choose(WIDE, WIDE, jnp.dtype(jnp.bfloat16)) == "xla"


def test_a_kernel_of_another_name_is_an_error():
    with pytest.raises(ValueError, match="model.attention is 'flash'; use one of"):
        attention.choose(WIDE, WIDE, jnp.dtype(jnp.float32), "flash")


def test_a_fused_kernel_is_told_once(caplog):
    caplog.set_level(logging.INFO)
    attention._say.cache_clear()
    for _ in range(2):
        attention._say("splash", WIDE[1:], 1024)
        attention._say("xla", WIDE[1:], 68)
    (line,) = caplog.messages
    assert line == "attention of 1024 positions to 1024, 2 heads of 40: splash"


def test_exports_from_before_there_was_a_choice_load_and_are_trained_on():
    config = smoke.get_config()
    old = smoke.get_config()
    del old.model.attention
    assert build.make_model(old) == build.make_model(config)
    assert not saved.differences(old, config, saved.RUN_FIELDS)
    config.model.attention = "xla"
    assert build.make_model(config).unet.kernel == "xla"


@pytest.fixture
def mesh():
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("no libtpu (extra `plan`): nothing was compiled for a TPU")
    config = smoke.get_config()
    config.mesh.data, config.mesh.fsdp = 2, 2
    with estimate._never_cached():
        yield sharding.make_mesh(config, chips.make_topology("v5p:2x2x1").devices)


def test_chips_keep_their_rows_to_themselves(mesh):
    rows = NamedSharding(mesh, PartitionSpec(sharding.AXES))
    x = jax.ShapeDtypeStruct((8, *WIDE[1:]), jnp.bfloat16, sharding=rows)

    def loss(*arrays):
        return jax.grad(lambda *a: attention.attend(*a).sum(), (0, 1, 2))(*arrays)

    text = jax.jit(sharding.split_rows(loss, mesh)).lower(x, x, x).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 2  # forward, backward
    assert not hlo.find_collectives(text, dict(mesh.shape))


def test_recomputing_a_layer_does_not_run_its_kernel_again(mesh):
    rows = NamedSharding(mesh, PartitionSpec(sharding.AXES))
    x = jax.ShapeDtypeStruct((4, 32, 32, 80), jnp.bfloat16, sharding=rows)
    tokens = jax.ShapeDtypeStruct((4, 8, 32), jnp.bfloat16, sharding=rows)
    module = rematerialised(SpatialTransformer, "full")(2, 4, dtype=jnp.bfloat16)
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=sharding.replicated(mesh)
        ),
        jax.eval_shape(module.init, jax.random.key(0), x, tokens),
    )

    def loss(params, x, tokens):
        return module.apply(params, x, tokens).astype(jnp.float32).sum()

    gradient = sharding.split_rows(jax.grad(loss, (0, 1)), mesh)
    text = jax.jit(gradient).lower(params, x, tokens).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 2
