"""Laws of the critic of latents and pixels."""

import jax
import jax.numpy as jnp
import numpy as np

from id2face_jax.models.critic import Critic
from tests.draws import normal, random_params


def _read(critic, x):
    return critic.apply(random_params(critic, x), x)


def test_a_logit_stands_for_a_patch_of_two_by_two_cells():
    x = normal(2, 8, 8, 3)
    logits = _read(Critic(8), x)
    assert logits.shape == (2, 4, 4) and logits.dtype == jnp.float32
    assert _read(Critic(8, dtype=jnp.bfloat16), x).dtype == jnp.float32


def test_each_patch_sees_most_of_a_latent_but_not_all():
    """A far corner is out of sight, so that each patch is seen for itself."""
    critic, x = Critic(8), normal(1, 16, 16, 3)
    params = random_params(critic, x)
    seen = jax.grad(lambda x: critic.apply(params, x)[0, 4, 4])(x)
    where = np.any(np.asarray(seen[0]) != 0, axis=-1)
    rows = np.flatnonzero(where.any(axis=1))
    assert (rows[0], rows[-1]) == (3, 14)
