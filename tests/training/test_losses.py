"""Laws of the loss terms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.training import losses
from tests.draws import normal


def _half_mask(batch):
    return jnp.zeros((batch, 4, 4, 1)).at[:, :2].set(1.0)


def test_masked_error_of_a_perfect_output_is_zero():
    x, mask = normal(3, 4, 4, 2), _half_mask(3)
    np.testing.assert_array_equal(losses.masked_error(x, x, mask, 0.1), 0.0)


def test_masked_error_counts_the_outside_by_its_weight():
    target, mask = jnp.zeros((1, 4, 4, 2)), _half_mask(1)
    inside, outside = mask * jnp.ones(2), (1 - mask) * jnp.ones(2)
    total = 8 * 1.0 + 8 * 0.25
    error = losses.masked_error(inside, target, mask, 0.25)
    np.testing.assert_allclose(error, 8 / total, rtol=1e-6)
    error = losses.masked_error(outside, target, mask, 0.25)
    np.testing.assert_allclose(error, 8 * 0.25 / total, rtol=1e-6)
    error = losses.masked_error(outside, target, mask, 0.0)
    np.testing.assert_array_equal(error, 0.0)


def test_masked_error_does_not_grow_with_the_mask():
    target, output = jnp.zeros((1, 4, 4, 2)), 2 * jnp.ones((1, 4, 4, 2))
    for mask in (_half_mask(1), jnp.ones((1, 4, 4, 1))):
        error = losses.masked_error(output, target, mask, 0.0)
        np.testing.assert_allclose(error, 4.0, rtol=1e-6)


def test_masked_error_of_an_empty_mask_is_a_number():
    x, empty = normal(1, 4, 4, 2), jnp.zeros((1, 4, 4, 1))
    np.testing.assert_array_equal(losses.masked_error(x, -x, empty, 0.0), 0.0)


def test_cosine_distance_at_its_landmarks():
    f = jnp.eye(4)[:2]
    np.testing.assert_array_equal(losses.cosine_distance(f, f), 0.0)
    np.testing.assert_array_equal(losses.cosine_distance(f, -f), 2.0)
    np.testing.assert_array_equal(losses.cosine_distance(f, f[::-1]), 1.0)


def test_similarity_counts_what_is_alike_and_asks_no_more_than_unlike():
    source = jnp.array([[1.0, 0.0]] * 3)
    seen = jnp.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    np.testing.assert_allclose(losses.similarity(seen, source), [1.0, 0.6, 0.0])


def test_a_critic_is_asked_about_what_the_mask_covers():
    """Patches of 2x2 cells: of the upper half, a quarter of the last row is covered."""
    logits = jnp.array([[[1.0, 1.0], [5.0, 5.0]]])
    mask = _half_mask(1)
    np.testing.assert_allclose(losses.patch_mean(logits, mask), 1.0, rtol=1e-6)
    mask = mask.at[:, 2, :, :].set(0.5)
    expected = (2 * 1.0 + 2 * 0.25 * 5.0) / 2.5
    np.testing.assert_allclose(losses.patch_mean(logits, mask), expected, rtol=1e-6)
    np.testing.assert_array_equal(losses.patch_mean(logits, 0 * mask), 0.0)


def test_kl_of_the_standard_normal_is_zero_and_of_all_else_positive():
    zero = jnp.zeros((1, 5))
    np.testing.assert_array_equal(losses.kl_standard(zero, zero), 0.0)
    kl = losses.kl_standard(normal(20, 5), normal(20, 5, seed=1))
    assert np.all(kl > 0)


def test_kl_is_the_mean_log_ratio_of_the_densities():
    mu, logvar = 0.7, -0.9
    eps = normal(400_000, seed=2)
    x = mu + np.exp(0.5 * logvar) * eps
    log_q = -0.5 * (eps**2 + logvar)
    log_p = -0.5 * x**2
    kl = losses.kl_standard(jnp.full((1,), mu), jnp.full((1,), logvar))
    # The sd of the mean of 400,000 log ratios of about 0.7 is 0.0012.
    np.testing.assert_allclose(jnp.mean(log_q - log_p), kl[0], atol=0.006)


def test_identity_kl_has_a_floor_of_its_free_nats():
    silent = jnp.zeros((6, 8))
    np.testing.assert_allclose(losses.identity_kl(silent, silent, 0.05), 8 * 0.05)
    loud = 3.0 + silent
    expected = 8 * 0.5 * 9.0
    np.testing.assert_allclose(losses.identity_kl(loud, silent, 0.05), expected)


def test_identity_kl_gives_silent_dimensions_no_gradient():
    logvar = jnp.zeros((6, 8))
    mu = jnp.full((6, 8), 1e-3).at[:, 0].set(2.0)
    gradient = jax.grad(losses.identity_kl)(mu, logvar, 0.05)
    np.testing.assert_array_equal(gradient[:, 1:], 0.0)
    assert np.all(gradient[:, 0] > 0)


def test_free_nats_act_on_the_mean_of_a_batch():
    """A dimension may be loud for one face if it is silent for the others."""
    mu = jnp.zeros((10, 1)).at[0].set(0.9)  # 0.405 nats for one, 0.0405 on the mean
    kl = losses.identity_kl(mu, jnp.zeros((10, 1)), 0.05)
    np.testing.assert_allclose(kl, 0.05, rtol=1e-6)


def test_attribute_kl_sums_a_sample_and_averages_the_batch():
    mu, logvar = normal(1, 2, 2, 3), normal(1, 2, 2, 3, seed=1)
    alone = losses.attribute_kl(mu, logvar)
    np.testing.assert_allclose(alone, jnp.sum(losses.kl_standard(mu, logvar)))
    twice = losses.attribute_kl(
        jnp.tile(mu, (2, 1, 1, 1)), jnp.tile(logvar, (2, 1, 1, 1))
    )
    np.testing.assert_allclose(twice, alone, rtol=1e-6)


def test_symmetric_kl_is_symmetric_positive_and_zero_on_itself():
    a = normal(5, 8), normal(5, 8, seed=1)
    b = normal(5, 8, seed=2), normal(5, 8, seed=3)
    np.testing.assert_allclose(
        losses.symmetric_kl(*a, *b), losses.symmetric_kl(*b, *a), rtol=1e-5
    )
    assert np.all(losses.symmetric_kl(*a, *b) > 0)
    np.testing.assert_allclose(losses.symmetric_kl(*a, *a), 0.0, atol=1e-6)


def test_symmetric_kl_to_the_standard_normal_holds_the_one_sided_kl():
    mu, logvar = normal(5, 8), normal(5, 8, seed=1)
    zero = jnp.zeros_like(mu)
    both = losses.symmetric_kl(mu, logvar, zero, zero)
    # KL(N(0,1) | q) in closed form.
    backward = 0.5 * ((1 + mu**2) * jnp.exp(-logvar) - 1 + logvar)
    forward = losses.kl_standard(mu, logvar)
    np.testing.assert_allclose(both, jnp.mean(forward + backward, axis=-1), rtol=1e-5)


def test_attribute_alignment_moves_the_recomposition_not_its_supplier():
    ours, theirs = normal(2, 2, 2, 3), normal(2, 2, 2, 3, seed=1)
    logvar = jnp.full(ours.shape, -1.0)
    gradients = jax.grad(losses.attribute_alignment, argnums=(0, 1, 2))(
        ours, theirs, logvar
    )
    assert np.all(gradients[0] != 0.0)
    for gradient in gradients[1:]:
        np.testing.assert_array_equal(gradient, 0.0)


def test_attribute_alignment_counts_what_a_dimension_says():
    """One that is as wide as its prior says nothing, and may be anything."""
    ours, theirs = normal(2, 2, 2, 3), normal(2, 2, 2, 3, seed=1)
    logvar = jnp.zeros(ours.shape).at[..., 0].set(-2.0)
    base = losses.attribute_alignment(ours, theirs, logvar)
    silent = losses.attribute_alignment(ours.at[..., 1].add(9.0), theirs, logvar)
    np.testing.assert_array_equal(silent, base)
    heard = losses.attribute_alignment(ours.at[..., 0].add(9.0), theirs, logvar)
    assert heard > base


def test_attribute_alignment_counts_no_dimension_for_more_than_its_gap():
    """However sure the supplier is: precision would pay the encoder for being sure."""
    ours, theirs = normal(2, 2, 2, 3), normal(2, 2, 2, 3, seed=1)
    gap = jnp.mean(jnp.square(ours - theirs))
    found = [
        losses.attribute_alignment(ours, theirs, jnp.full(ours.shape, x))
        for x in (-1.0, -3.0, -20.0)
    ]
    assert found[0] < found[1] < found[2]
    np.testing.assert_allclose(found[2], gap, rtol=1e-5)


def test_weights_of_channels_and_cells_count_inside_the_mask():
    target, mask = jnp.zeros((1, 4, 4, 2)), _half_mask(1)
    one = target.at[0, 0, 0, 0].set(1.0)
    plain = losses.masked_error(one, target, mask, 0.0)
    channels = losses.masked_error(
        one, target, mask, 0.0, channels=jnp.array([1.5, 0.5])
    )
    np.testing.assert_allclose(channels, 1.5 * plain, rtol=1e-6)
    cells = jnp.ones((1, 4, 4, 1)).at[0, 0, 0].set(3.0)
    heavy = losses.masked_error(one, target, mask, 0.0, cells=cells)
    np.testing.assert_allclose(heavy, 3.0 * plain * 8 / 10, rtol=1e-6)


def test_a_verifier_gains_by_picking_the_partner_and_pairs_alone_count():
    alike = jnp.eye(4)[jnp.array([0, 1, 0, 1])]  # rows i and i + 2 are one person
    crossed = jnp.eye(4)[jnp.array([0, 1, 1, 0])]
    pairs = jnp.ones(4)
    good, excess = losses.verification(alike, pairs)
    bad, none = losses.verification(crossed, pairs)
    assert good < 0.01 < bad
    np.testing.assert_allclose(excess, 1.0, atol=1e-6)
    np.testing.assert_array_equal(none, 0.0)
    np.testing.assert_array_equal(losses.verification(crossed, 0 * pairs), 0.0)


def test_an_adversary_gains_by_telling_apart_what_the_generator_gains_by_mixing():
    def read(x, still):
        return x if not still else jax.lax.stop_gradient(1.0) * x

    real, fake = jnp.full((2,), 2.0), jnp.full((2,), -2.0)
    told, against = losses.adversarial_terms(read, real, fake)
    np.testing.assert_array_equal(told, 0.0)
    np.testing.assert_array_equal(against, 2.0)
    fooled, against = losses.adversarial_terms(read, fake, real)
    np.testing.assert_array_equal(fooled, 6.0)
    np.testing.assert_array_equal(against, -2.0)


@pytest.mark.parametrize(
    "rows, expected", [([1, 1, 0, 0], 1.5), ([0, 0, 0, 1], 4.0), ([0, 0, 0, 0], 0.0)]
)
def test_mean_over_is_the_mean_of_the_marked_rows(rows, expected):
    value = jnp.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(
        losses.mean_over(value, jnp.array(rows, jnp.float32)), expected
    )


def test_quarters_of_time_are_told_apart():
    t = jnp.array([0.0, 0.2, 0.25, 0.6, 0.99, 1.0])
    value, rows = jnp.arange(1.0, 7.0), jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    said = losses.by_quarter("x", value, t, rows)
    assert said == {"x_t1": 1.5, "x_t2": 3.0, "x_t3": 4.0, "x_t4": 5.0}
