"""The optimizer and its schedule, from config.optim and config.train.num_steps."""

import re

import jax
import jax.numpy as jnp
import ml_collections
import optax

# Top-level parts of the parameters that train against the rest.
ADVERSARIES = ("critic", "leak_probe", "second_probe", "verifier")


def make_schedule(config: ml_collections.ConfigDict) -> optax.Schedule:
    """Learning rate by update: linear warm-up, constant, linear cool-down at the end.

    The rate stays constant until optim.lr_cooldown_steps before train.num_steps, so
    that a run can be cut off anywhere: a branch that cools down starts from any of its
    checkpoints (Hägele et al. 2024).
    """
    optim, num_steps = config.optim, config.train.num_steps
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, optim.lr, optim.lr_warmup_steps),
            optax.linear_schedule(
                optim.lr, optim.lr * optim.lr_final_ratio, optim.lr_cooldown_steps
            ),
        ],
        [num_steps - optim.lr_cooldown_steps],
    )


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW; matrices alone are decayed.

    Adversaries have a chain of their own, with less momentum (optim.adversary_b1) and
    their own clipping: what they lose must not take from the others' step.
    """
    optim = config.optim

    def is_matrix(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    def chain(b1: float):
        return optax.chain(
            optax.clip_by_global_norm(optim.clip_norm),
            optax.adamw(
                make_schedule(config),
                b1=b1,
                b2=optim.b2,
                weight_decay=optim.weight_decay,
                mask=is_matrix,
            ),
        )

    def groups(params):
        return {
            name: jax.tree.map(
                lambda _, name=name: "adversary" if name in ADVERSARIES else "main",
                part,
            )
            for name, part in params.items()
        }

    chains = {"main": chain(optim.b1), "adversary": chain(optim.adversary_b1)}
    return optax.multi_transform(chains, groups)


def multipliers(params: dict, config: ml_collections.ConfigDict) -> dict:
    """Each leaf's share of the learning rate, a tree of numbers; 0 freezes a leaf.

    Of the first pair of optim.lr_multipliers whose regex finds the leaf's path, else 1.
    Raises ValueError for a regex that is no leaf's, which is a typo that would train
    what should stay.
    """
    pairs = config.optim.get("lr_multipliers", ())  # older runs' configs lack it
    used = set()

    def share(path, _):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, factor in pairs:
            if re.search(pattern, name):
                used.add(pattern)
                return factor
        return 1.0

    shares = jax.tree_util.tree_map_with_path(share, params)
    if unused := [pattern for pattern, _ in pairs if pattern not in used]:
        raise ValueError(
            f"optim.lr_multipliers: no parameter is left for {unused[0]!r}; it is "
            "misspelt, or stands behind one that takes its parameters"
        )
    return shares


def ema_decay(step: jax.Array, config: ml_collections.ConfigDict) -> jax.Array:
    """The average's decay at `step`: (1 + step) / (10 + step), at most ema_decay.

    The ramp keeps the random start out of the average (as in TensorFlow's
    ExponentialMovingAverage with num_updates).
    """
    step = step.astype(jnp.float32)
    return jnp.minimum(config.optim.ema_decay, (1.0 + step) / (10.0 + step))
