"""Laws of the optimizer and its schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import smoke
from id2face_jax.training import optim
from tests import runs


@pytest.fixture
def config():
    config = smoke.get_config()
    config.optim.lr, config.optim.lr_final_ratio = 1e-2, 0.1
    config.optim.lr_warmup_steps, config.train.num_steps = 10, 100
    return config


def test_rate_warms_up_stays_and_falls_to_its_final_share_at_the_end(config):
    config.optim.lr_cooldown_steps = 20
    schedule = optim.make_schedule(config)
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == 0.0
    np.testing.assert_allclose(rates[10:81], 1e-2, rtol=1e-6)
    np.testing.assert_allclose(rates[100], 1e-3, rtol=1e-5)
    assert np.all(np.diff(rates[:11]) > 0) and np.all(np.diff(rates[80:]) < 0)


def test_a_longer_run_has_the_same_rates_until_its_cool_down(config):
    """A branch may be cut off any run: nothing before it knows how long it is."""
    short = optim.make_schedule(config)
    config.train.num_steps = 1000
    longer = optim.make_schedule(config)
    steps = range(100)
    assert [float(short(i)) for i in steps] == [float(longer(i)) for i in steps]


def _update(config, grads, params):
    """The second update: the first has rate 0."""
    tx = optim.make_optimizer(config)
    update, state = jax.jit(tx.update), jax.jit(tx.init)(params)
    for _ in range(2):
        updates, state = update(grads, state, params)
    return updates


def test_matrices_alone_are_decayed(config):
    params = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    updates = _update(config, jax.tree.map(jnp.zeros_like, params), params)
    assert np.all(updates["dense"]["kernel"] < 0)
    np.testing.assert_array_equal(updates["dense"]["bias"], 0.0)


def test_a_huge_gradient_moves_no_farther_than_a_large_one(config):
    config.optim.weight_decay = 0.0
    params = {"bias": jnp.zeros(4)}
    large, huge = (
        _update(config, {"bias": jnp.full(4, size)}, params) for size in (1e2, 1e6)
    )
    np.testing.assert_allclose(large["bias"], huge["bias"], rtol=1e-5)


def test_clipping_is_by_the_global_norm(config):
    """Seen in Adam's first moment: (1 - b1) times the clipped gradient."""
    params = {"a": jnp.zeros(3), "b": jnp.zeros(4)}
    grads = jax.tree.map(lambda p: jnp.full(p.shape, 100.0), params)
    tx = optim.make_optimizer(config)
    _, state = jax.jit(tx.update)(grads, tx.init(params), params)
    main = state.inner_states["main"]
    (mu,) = [s.mu for s in jax.tree.leaves(main, is_leaf=_has_mu) if _has_mu(s)]
    norm = optax.tree.norm(mu) / (1 - config.optim.b1)
    np.testing.assert_allclose(norm, config.optim.clip_norm, rtol=1e-5)


def _has_mu(node) -> bool:
    return hasattr(node, "mu")


def test_ema_starts_short_and_reaches_its_decay(config):
    config.optim.ema_decay = 0.99
    decays = [
        float(optim.ema_decay(jnp.int32(step), config)) for step in (0, 10, 10_000)
    ]
    np.testing.assert_allclose(decays, [0.1, 11 / 20, 0.99], rtol=1e-6)


def test_adversaries_have_their_own_momentum_and_clipping(config):
    """A huge gradient of theirs does not shrink the step of the others."""
    config.optim.weight_decay = 0.0
    params = {"unet": {"bias": jnp.zeros(4)}, "critic": {"bias": jnp.zeros(4)}}
    small = jax.tree.map(lambda p: jnp.full(p.shape, 0.01), params)
    huge = small | {"critic": {"bias": jnp.full(4, 1e6)}}
    one, other = (_update(config, grads, params) for grads in (small, huge))
    np.testing.assert_array_equal(one["unet"]["bias"], other["unet"]["bias"])
    tx = optim.make_optimizer(config)
    _, state = tx.update(small, tx.init(params), params)
    moments = {
        name: jax.tree.leaves(inner, is_leaf=_has_mu)
        for name, inner in state.inner_states.items()
    }
    for name, part in (("main", "unet"), ("adversary", "critic")):
        (mu,) = [x.mu for x in moments[name] if _has_mu(x)]
        b1 = config.optim.b1 if name == "main" else config.optim.adversary_b1
        np.testing.assert_allclose(mu[part]["bias"], (1 - b1) * 0.01, rtol=1e-5)


LAYERS = {"unet": {"old": {"bias": 0}, "new": {"bias": 0}}, "encoder": {"bias": 0}}


def test_the_first_path_that_fits_says_how_fast_a_leaf_learns(config):
    config.optim.lr_multipliers = (("new/", 2.0), ("^unet/", 0.0))
    assert optim.multipliers(LAYERS, config) == {
        "unet": {"old": {"bias": 0.0}, "new": {"bias": 2.0}},
        "encoder": {"bias": 1.0},
    }
    config.optim.lr_multipliers = (("^unet/", 0.0), ("new/", 2.0))
    with pytest.raises(ValueError, match="no parameter is left for 'new/'"):
        optim.multipliers(LAYERS, config)
    del config.optim.lr_multipliers  # as in the config of an older run
    assert set(jax.tree.leaves(optim.multipliers(LAYERS, config))) == {1.0}


def test_frozen_layers_stay_and_slow_ones_move_less():
    """Adam's step does not know the gradient's size: half the rate is half the way."""
    config = runs.tiny_config(optim__weight_decay=0.0)
    mesh = runs.make_mesh(1, 1)
    pairs = (("bias$", 0.0), ("kernel$", 0.5))
    start, _ = runs.run_steps(config, mesh, 0)
    usual, _ = runs.run_steps(config, mesh, 2)
    config.optim.lr_multipliers = pairs
    changed, _ = runs.run_steps(config, mesh, 2)
    shares, moved = optim.multipliers(start.params, config), []

    def check(first, one, other, share):
        if share == 0.0:
            np.testing.assert_array_equal(other, first)
        elif share == 0.5:
            # The clipped gradient's direction changes where biases take no part.
            usual_way, way = np.abs(one - first).max(), np.abs(other - first).max()
            assert 0.4 * usual_way <= way <= 0.6 * usual_way
            moved.append(way > 0)

    jax.tree.map(check, start.params, usual.params, changed.params, shares)
    assert any(moved)
