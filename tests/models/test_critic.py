"""Laws of the critic of latents."""

import jax
import jax.numpy as jnp
import numpy as np

from id2face_jax.models.critic import LatentCritic
from tests.draws import normal, random_params


def _read(critic, z, mask):
    return critic.apply(random_params(critic, z, mask), z, mask)


def test_a_logit_stands_for_a_patch_of_two_by_two_cells():
    z, mask = normal(2, 8, 8, 3), jnp.ones((2, 8, 8, 1))
    logits = _read(LatentCritic(8), z, mask)
    assert logits.shape == (2, 4, 4) and logits.dtype == jnp.float32
    assert _read(LatentCritic(8, dtype=jnp.bfloat16), z, mask).dtype == jnp.float32


def test_each_patch_sees_most_of_a_latent_but_not_all():
    """A far corner is out of sight, so that each patch is judged for itself."""
    critic, mask = LatentCritic(8), jnp.ones((1, 16, 16, 1))
    z = normal(1, 16, 16, 3)
    params = random_params(critic, z, mask)
    seen = jax.grad(lambda z: critic.apply(params, z, mask)[0, 4, 4])(z)
    where = np.any(np.asarray(seen[0]) != 0, axis=-1)
    rows = np.flatnonzero(where.any(axis=1))
    assert (rows[0], rows[-1]) == (3, 14)


def test_the_mask_is_seen():
    z, mask = normal(1, 8, 8, 3), jnp.ones((1, 8, 8, 1))
    assert not np.allclose(
        _read(LatentCritic(8), z, mask), _read(LatentCritic(8), z, 0 * mask)
    )
