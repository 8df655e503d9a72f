"""Random arrays and parameters for tests, drawn by numpy: nothing to compile."""

import jax
import jax.numpy as jnp
import numpy as np


def normal(*shape: int, seed: int = 0) -> jax.Array:
    """Standard normal float32 numbers."""
    draw = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(draw, jnp.float32)


def random_like(shapes, scale: float = 0.2, seed: int = 5):
    """A tree of normal numbers for a tree of shapes, as of `jax.eval_shape`.

    Parameters drawn so lack the zeros of the initialisation, which hide a condition
    from the output.
    """
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: jnp.asarray(scale * rng.normal(size=s.shape), s.dtype), shapes
    )


def random_params(module, *args, scale: float = 0.2, **kwargs):
    """Variables of a linen module called with `args`, without its initial zeros."""
    shapes = jax.eval_shape(
        lambda key: module.init(key, *args, **kwargs), jax.random.key(0)
    )
    return random_like(shapes, scale)
