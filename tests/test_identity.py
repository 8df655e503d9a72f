"""Laws of random identities and of the orthogonal identity mapping (OIM)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax import identity
from tests.draws import normal

DIM = 64
orthogonal_map = jax.jit(identity.orthogonal_map)


def _vectors(num=100, seed=0, scale=1.0):
    draw = np.random.default_rng(seed).normal(size=(num, DIM))
    return jnp.asarray(scale * draw, jnp.float32)


def _cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.sum(a * b, axis=-1) / lengths


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_mapped_is_orthogonal_to_the_source(scale):
    random, source = _vectors(seed=1), _vectors(seed=2, scale=scale)
    mapped = orthogonal_map(random, source)
    # float32: 64 terms of rounding 6e-8 each.
    np.testing.assert_allclose(_cosine(mapped, source), 0.0, atol=5e-7)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 120.0, 180.0])
def test_mapped_stands_at_the_angle(angle):
    random, source = _vectors(seed=1), _vectors(seed=2)
    mapped = orthogonal_map(random, source, angle)
    expected = np.cos(np.deg2rad(angle))
    np.testing.assert_allclose(_cosine(mapped, source), expected, atol=1e-6)


def test_each_row_may_have_its_own_angle():
    random, source = _vectors(3, seed=1), _vectors(3, seed=2)
    angles = jnp.array([60.0, 90.0, 120.0])
    cosines = _cosine(orthogonal_map(random, source, angles), source)
    np.testing.assert_allclose(cosines, [0.5, 0.0, -0.5], atol=1e-6)


@pytest.mark.parametrize("angle", [10.0, 90.0, 170.0])
def test_length_is_kept(angle):
    random, source = _vectors(seed=1, scale=7.0), _vectors(seed=2)
    mapped = orthogonal_map(random, source, angle)
    np.testing.assert_allclose(
        jnp.linalg.norm(mapped, axis=-1), jnp.linalg.norm(random, axis=-1), rtol=1e-6
    )


def test_mapping_again_changes_nothing():
    random, source = _vectors(seed=1), _vectors(seed=2)
    once = orthogonal_map(random, source)
    twice = orthogonal_map(once, source)
    np.testing.assert_allclose(twice, once, atol=2e-6)


def test_an_orthogonal_sample_stays_as_it_is():
    source = jnp.zeros((1, DIM)).at[0, 0].set(2.0)
    random = _vectors(1).at[0, 0].set(0.0)
    mapped = orthogonal_map(random, source)
    np.testing.assert_allclose(mapped, random, atol=1e-6)


def test_rows_do_not_depend_on_their_batch():
    random, source = _vectors(8, seed=1), _vectors(8, seed=2)
    whole = orthogonal_map(random, source)
    alone = orthogonal_map(random[5:6], source[5:6])
    np.testing.assert_allclose(whole[5:6], alone, atol=1e-6)


def test_a_source_without_length_is_nothing_to_avoid():
    random = _vectors(4)
    mapped = orthogonal_map(random, jnp.zeros_like(random))
    np.testing.assert_array_equal(mapped, random)


@pytest.mark.parametrize("factor", [1.0, -1.0, 3.0, 1.0 + 1e-7])
def test_a_parallel_sample_is_turned_away_all_the_same(factor):
    source = _vectors(50, seed=2)
    mapped = orthogonal_map(factor * source, source)
    np.testing.assert_allclose(_cosine(mapped, source), 0.0, atol=5e-7)
    np.testing.assert_allclose(
        jnp.linalg.norm(mapped, axis=-1),
        abs(factor) * jnp.linalg.norm(source, axis=-1),
        rtol=1e-6,
    )


def test_a_nearly_parallel_sample_is_still_orthogonal():
    """Where one projection in float32 would leave mostly rounding."""
    source = _vectors(50, seed=2)
    random = source + 1e-3 * _vectors(50, seed=3)
    mapped = orthogonal_map(random, source)
    np.testing.assert_allclose(_cosine(mapped, source), 0.0, atol=2e-6)


def test_a_sample_without_length_stays_zero():
    mapped = orthogonal_map(jnp.zeros((2, DIM)), _vectors(2))
    np.testing.assert_array_equal(mapped, 0.0)


def test_gradients_are_finite_even_at_the_corner_cases():
    source = _vectors(3, seed=2)
    random = jnp.stack([source[0], jnp.zeros(DIM), _vectors(1)[0]])
    source = source.at[2].set(0.0)
    gradient = jax.grad(lambda r: jnp.sum(orthogonal_map(r, source) ** 2))
    assert np.all(np.isfinite(gradient(random)))


def test_one_dimension_has_no_orthogonal_vector():
    with pytest.raises(ValueError, match="1 dimension; an orthogonal one needs"):
        orthogonal_map(jnp.ones((2, 1)), jnp.ones((2, 1)))


def test_a_random_identity_depends_on_its_own_seed_alone():
    seeds = jnp.array([5, 9, 5, 2**32 - 1], jnp.uint32)
    u = identity.random_identity(identity.image_keys(seeds), DIM)
    np.testing.assert_array_equal(u[0], u[2])
    alone = identity.random_identity(identity.image_keys(seeds[1:2]), DIM)
    np.testing.assert_array_equal(u[1:2], alone)
    assert np.abs(_cosine(u[0], u[1])) < 0.6


def test_random_identities_are_standard_normal():
    keys = identity.image_keys(jnp.arange(2000, dtype=jnp.uint32))
    u = identity.random_identity(keys, DIM)
    # 128,000 draws: the mean's sd is 0.003, the variance's 0.004.
    np.testing.assert_allclose(jnp.mean(u), 0.0, atol=0.015)
    np.testing.assert_allclose(jnp.var(u), 1.0, atol=0.02)


def _unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _directions(k: int, d: int):
    return jnp.asarray(np.linalg.qr(np.asarray(normal(d, k, seed=9)))[0].T)


@pytest.mark.parametrize("angle", [60.0, 90.0, 100.0, 130.0])
def test_appearance_is_kept_and_the_rest_turned_by_the_angle(angle):
    random, source = _unit(normal(64, 16)), _unit(normal(64, 16, seed=1))
    directions = _directions(3, 16)
    new = identity.keep_appearance(random, source, directions, angle)
    np.testing.assert_allclose(jnp.linalg.norm(new, axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(new @ directions.T, source @ directions.T, atol=1e-5)
    share = jnp.sum(jnp.square(source @ directions.T), axis=-1)
    assert share.max() > 0.3  # also of people whose appearance is most of them
    cosine = jnp.sum(new * source, axis=-1)
    expected = share + (1.0 - share) * np.cos(np.deg2rad(angle))
    np.testing.assert_allclose(cosine, expected, atol=1e-5)


def test_two_samples_of_one_appearance_differ_in_the_rest():
    source, directions = _unit(normal(8, 32, seed=1)), _directions(3, 32)
    one, other = (
        identity.keep_appearance(_unit(normal(8, 32, seed=i)), source, directions)
        for i in (2, 3)
    )
    assert np.all(jnp.sum(one * other, axis=-1) < 0.9)


def test_a_sample_parallel_to_the_source_still_keeps_appearance():
    source, directions = _unit(normal(4, 32, seed=1)), _directions(3, 32)
    new = identity.keep_appearance(source, source, directions, 90.0)
    assert np.all(np.isfinite(new))
    np.testing.assert_allclose(new @ directions.T, source @ directions.T, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(new, axis=-1), 1.0, atol=1e-5)
