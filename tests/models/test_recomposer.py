"""Laws of the recomposer: who, what else, and the null identity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.models.recomposer import (
    AttributeEncoder,
    LeakProbe,
    Recomposer,
    Verifier,
)
from tests.draws import normal, random_params

ENCODER = AttributeEncoder(channels=4, dim=16, depth=1)
RECOMPOSER = Recomposer(dim=16)


@pytest.fixture(scope="module")
def recompose():
    f, a, keep = normal(2, 8), normal(2, 4, 4, 4), jnp.ones(2)
    params = random_params(RECOMPOSER, f, a, keep)
    return jax.jit(lambda *args: RECOMPOSER.apply(params, *args))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_attributes_are_a_coarse_grid(stride):
    encoder, z = AttributeEncoder(4, 16, 1, stride=stride), normal(2, 8, 8, 6)
    params = random_params(encoder, z)
    mu, logvar = jax.jit(encoder.apply)(params, z)
    assert mu.shape == logvar.shape == (2, 8 // stride, 8 // stride, 4)
    assert mu.dtype == logvar.dtype == jnp.float32
    assert np.all((logvar >= -8.0) & (logvar <= 4.0))


def test_attributes_follow_the_place_of_a_change():
    z = normal(1, 8, 8, 6)
    params = random_params(ENCODER, z)
    apply = jax.jit(lambda z: ENCODER.apply(params, z)[0])
    change = jnp.abs(apply(z.at[0, 0, 0].add(1.0)) - apply(z)).max(-1)[0]
    assert change[0, 0] > 1e-3
    assert change[3, 3] == 0.0  # out of a 3x3 kernel's reach


def test_the_adversary_reads_every_place_and_answers_with_an_embedding():
    mu, probe = normal(2, 4, 4, 3), LeakProbe(embedding_dim=8, dim=16)
    params = random_params(probe, mu)
    read = jax.jit(lambda mu: probe.apply(params, mu))
    np.testing.assert_allclose(np.linalg.norm(read(mu), axis=-1), 1.0, rtol=1e-5)
    for place in ((0, 0), (3, 3)):
        changed = read(mu.at[(0, *place)].add(1.0)) - read(mu)
        assert np.abs(changed[0]).max() > 1e-4
        np.testing.assert_array_equal(changed[1], 0.0)


def test_a_row_without_identity_does_not_know_it(recompose):
    f, a = normal(2, 8), normal(2, 4, 4, 4)
    keep = jnp.array([0.0, 1.0])
    first, second = (recompose(x, a, keep).identity for x in (f, normal(2, 8, seed=1)))
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[1] - second[1]).max() > 1e-2


def test_identity_and_attributes_do_not_mix(recompose):
    f, a, keep = normal(2, 8), normal(2, 4, 4, 4), jnp.ones(2)
    base = recompose(f, a, keep)
    other_who = recompose(normal(2, 8, seed=1), a, keep)
    other_what = recompose(f, normal(2, 4, 4, 4, seed=1), keep)
    np.testing.assert_array_equal(base.attributes, other_who.attributes)
    np.testing.assert_array_equal(base.identity, other_what.identity)
    assert np.abs(base.identity - other_who.identity).max() > 1e-2
    assert np.abs(base.attributes - other_what.attributes).max() > 1e-2


def test_the_template_is_linear_in_the_identity_and_else_the_average_face():
    drawn = Recomposer(dim=16, template_shape=(8, 8, 3))
    a, keep = normal(2, 4, 4, 4), jnp.array([1.0, 0.0])
    params = random_params(drawn, normal(2, 8), a, keep)
    apply = jax.jit(lambda f: drawn.apply(params, f, a, keep).template)
    f, g = normal(2, 8), normal(2, 8, seed=1)
    assert apply(f).shape == (2, 8, 8, 3)
    np.testing.assert_allclose(apply(f + g) + apply(0 * f), apply(f) + apply(g), 1e-4)
    np.testing.assert_array_equal(apply(f)[1], apply(g)[1])
    np.testing.assert_allclose(apply(f)[1], apply(0 * f)[0], atol=1e-6)


def test_without_a_shape_there_is_no_template(recompose):
    assert recompose(normal(2, 8), normal(2, 4, 4, 4), jnp.ones(2)).template is None


def test_the_condition_has_unit_scale(recompose):
    condition = recompose(normal(2, 8), normal(2, 4, 4, 4), jnp.ones(2))
    for part in (condition.identity, condition.attributes):
        np.testing.assert_allclose((part**2).mean(-1), 1.0, rtol=1e-2)


def test_the_verifier_reads_every_place_and_answers_with_a_unit_vector():
    mu, verifier = normal(2, 4, 4, 3), Verifier(embedding_dim=8, dim=16)
    params = random_params(verifier, mu)
    read = jax.jit(lambda mu: verifier.apply(params, mu))
    np.testing.assert_allclose(np.linalg.norm(read(mu), axis=-1), 1.0, rtol=1e-5)
    for place in ((0, 0), (3, 3)):
        changed = read(mu.at[(0, *place)].add(1.0)) - read(mu)
        assert np.abs(changed[0]).max() > 1e-4
        np.testing.assert_array_equal(changed[1], 0.0)


def test_the_identity_map_follows_who_and_not_what_else():
    recomposer = Recomposer(dim=16, identity_grid=2)
    f, a, keep = normal(2, 8), normal(2, 4, 4, 4), jnp.array([1.0, 0.0])
    params = random_params(recomposer, f, a, keep)
    base = recomposer.apply(params, f, a, keep).identity_map
    assert base.shape == (2, 2, 2, 16)
    who = recomposer.apply(params, normal(2, 8, seed=1), a, keep).identity_map
    assert np.abs(who[0] - base[0]).max() > 1e-2
    np.testing.assert_array_equal(who[1], base[1])  # the null identity
    rest = recomposer.apply(params, f, normal(2, 4, 4, 4, seed=1), keep)
    np.testing.assert_array_equal(rest.identity_map, base)


def test_the_template_does_not_pull_on_the_identity():
    recomposer = Recomposer(dim=16, template_shape=(4, 4, 3))
    f, a, keep = normal(2, 8), normal(2, 4, 4, 4), jnp.ones(2)
    params = random_params(recomposer, f, a, keep)

    def drawn(f):
        return jnp.sum(recomposer.apply(params, f, a, keep).template ** 2)

    np.testing.assert_array_equal(jax.grad(drawn)(f), 0.0)
