"""The optimizer and its schedule, from config.optim and config.train.num_steps."""

import jax
import jax.numpy as jnp
import ml_collections
import optax


def make_schedule(config: ml_collections.ConfigDict) -> optax.Schedule:
    """Learning rate by update: linear warm-up, then cosine to lr * lr_final_ratio."""
    optim = config.optim
    if optim.lr_warmup_steps >= config.train.num_steps:
        raise ValueError(
            f"optim.lr_warmup_steps is {optim.lr_warmup_steps} and train.num_steps is "
            f"{config.train.num_steps}; the warm-up must be shorter than the run"
        )
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=optim.lr,
        warmup_steps=optim.lr_warmup_steps,
        decay_steps=config.train.num_steps,
        end_value=optim.lr * optim.lr_final_ratio,
    )


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW; matrices alone are decayed."""
    optim = config.optim

    def is_matrix(params):
        return {
            key: is_matrix(value) if isinstance(value, dict) else value.ndim > 1
            for key, value in params.items()
        }

    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        optax.adamw(
            make_schedule(config),
            b1=optim.b1,
            b2=optim.b2,
            weight_decay=optim.weight_decay,
            mask=is_matrix,
        ),
    )


def ema_decay(step: jax.Array, config: ml_collections.ConfigDict) -> jax.Array:
    """The average's decay at `step`: (1 + step) / (10 + step), at most ema_decay.

    The ramp keeps the random start out of the average (as in TensorFlow's
    ExponentialMovingAverage with num_updates).
    """
    step = step.astype(jnp.float32)
    return jnp.minimum(config.optim.ema_decay, (1.0 + step) / (10.0 + step))
