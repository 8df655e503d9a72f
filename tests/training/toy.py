"""Tiny training states and steps that the tests of steps and objectives share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from configs import smoke
from id2face_jax.data import pipeline
from id2face_jax.training import steps
from tests.draws import random_like

TASKS = steps.TASKS
TERMS = (
    "recomposition",
    "identity_reconstruction",
    "identity_kl",
    "identity_consistency",
    "identity_alignment",
    "attribute_alignment",
    "attribute_kl",
    "leak_probe",
    "identity_leak",
    "portrait",
    "critic",
    "adversarial",
    "verifier",
    "verified_leak",
)


def config(task, **changes):
    config = smoke.get_config()
    config.task = task
    config.data.batch_size = 8
    config.optim.lr, config.optim.lr_warmup_steps = 3e-3, 2
    config.train.num_steps = 1000
    # A maximum over a batch's mean is not a mean over micro-batches.
    config.loss.identity_free_nats = 0.0
    # It chooses among the rows that it is given.
    config.loss.verifier_dim = changes.pop("verifier_dim", config.loss.verifier_dim)
    config.optim.update(changes)
    return config


@functools.cache
def batch():
    """Eight real pairs."""
    config = smoke.get_config()
    config.data.pair_prob = 1.0
    return pipeline.first_batch(config, 8)


@functools.cache
def start(task):
    """A state with small random parameters, so that nothing is zero."""
    return start_of(config(task))


def start_of(config, frozen=None):
    """Such a state of a config. frozen: networks that it is trained with."""
    made = steps.make_task(config, frozen)
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    params = random_like(shapes.params, scale=0.1)
    if "critic" in params:
        # Beyond the hinge: inside of it, both sides push the last bias equally.
        params["critic"]["out"]["kernel"] *= 10.0
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes.opt_state)
    return shapes.replace(
        step=jnp.int32(0),
        params=params,
        ema=params,
        opt_state=zeros,
        frozen=random_like(shapes.frozen, scale=0.1) | (frozen or {}),
    )


@functools.cache
def step(task, **changes):
    return jax.jit(steps.make_task(config(task, **changes)).train_step)


def run(task, num, rows=None, **changes):
    """(last state, metrics of each step) on one batch; rows: None is `batch`."""
    return walk(step(task, **changes), start(task), num, rows)


def walk(step, state, num, rows=None):
    """As `run`, with a step and a state of one's own."""
    seen = []
    for _ in range(num):
        state, metrics = step(state, rows or batch())
        seen.append(jax.device_get(metrics))
    return state, seen


def assert_close(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


def assert_same_numbers(whole, parts):
    """Of a batch in one piece and in pieces: each of `run`."""
    # Sums in another order; Adam divides small numbers by small numbers.
    assert_close(whole[0].params, parts[0].params, rtol=1e-3, atol=1e-4)
    for one, other in zip(whole[1], parts[1], strict=True):
        # A part without a row in a quarter of time says 0 of it: no mean of means.
        names = [name for name in one if not name.startswith("recomposition_t")]
        kept = ({name: x[name] for name in names} for x in (one, other))
        assert_close(*kept, rtol=1e-3, atol=1e-5)
