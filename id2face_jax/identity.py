"""Identities: random ones, and the orthogonal mapping that keeps them away.

Owns Orthogonal Identity Mapping (OIM). The paper states that the sampled identity
is made orthogonal to the source identity (arXiv 2510.24213, abstract); the formula,
the space and the angle are ours:

    (1)  p = u_r - (<u_r, u_s> / <u_s, u_s>) u_s
    (2)  u = |u_r| (cos(angle) u_s / |u_s| + sin(angle) p / |p|)

At 90 degrees eq. 2 is p rescaled to the length of u_r. Orthogonality of latents u
does not make the decoded embeddings orthogonal, so `space="embedding"` applies the
same map to the decoded embedding, right before it conditions the UNet.

A random person rarely fits a body: most sampled identities are men, whatever the hair.
`keep_appearance` (ours) holds what an embedding says of apparent sex, age and skin,
directions in it that are the orthonormal rows of P, and turns the rest by the angle:

    (3)  f = P^T P f_s + sqrt(1 - s) g,  s = |P f_s|^2

with g of unit length, orthogonal to P, and at `angle` to what P leaves of f_s. So the
cosine of f and f_s is s + (1 - s) cos(angle). To hold that whole cosine at cos(angle),
the rest would have to make up for s: of people whose appearance is rare, s is large,
and g came out as the opposite of a face, which the UNet drew as a caricature.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_TINY = 1e-6


def image_keys(seeds: jax.Array) -> jax.Array:
    """One typed PRNG key per seed: (n,) unsigned integers to (n,) keys."""
    return jax.vmap(jax.random.key)(seeds)


def random_identity(keys: jax.Array, dim: int) -> Float[Array, "n d"]:
    """Identity latents u ~ N(0, I), one per key, so rows do not depend on n."""
    return jax.vmap(lambda key: jax.random.normal(key, (dim,)))(keys)


def _least_aligned_axis(u: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    return jax.nn.one_hot(jnp.argmin(jnp.abs(u), axis=-1), u.shape[-1], dtype=u.dtype)


def _length(u: Float[Array, "*b d"]) -> Float[Array, "*b 1"]:
    """The norm; its gradient at zero is zero, where jnp.linalg.norm's is NaN."""
    square = jnp.sum(u * u, axis=-1, keepdims=True)
    is_zero = square == 0.0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))


def _reject(u: Float[Array, "*b d"], unit: Float[Array, "*b d"]):
    # Twice: one float32 pass leaves a component of about 1e-7 |u| along `unit`, which
    # matters when the rest is short.
    for _ in range(2):
        u = u - jnp.sum(u * unit, axis=-1, keepdims=True) * unit
    return u


def orthogonal_map(
    random: Float[Array, "*b d"],
    source: Float[Array, "*b d"],
    angle: float | Float[Array, ""] | Float[Array, "*b"] = 90.0,
) -> Float[Array, "*b d"]:
    """`random` turned so that it stands at `angle` degrees to `source` (eq. 2).

    Args:
      random: vectors u_r; their lengths are kept.
      source: vectors u_s. A row of zero length has no direction to avoid, so its
        u_r comes back as it is.
      angle: degrees in [0, 180]; 90 is the paper's orthogonality, more is farther.

    A u_r that is parallel to u_s is replaced by the coordinate axis least aligned
    with u_s before projecting: still deterministic, never NaN.
    """
    if random.shape[-1] < 2:
        raise ValueError(
            f"identity vectors have {random.shape[-1]} dimension; an orthogonal one "
            "needs at least 2"
        )
    length, source_length = _length(random), _length(source)
    unit = source / jnp.maximum(source_length, _TINY)
    normal = _reject(random, unit)
    parallel = _length(normal) < 1e-4 * length
    normal = jnp.where(parallel, _reject(_least_aligned_axis(unit), unit), normal)
    normal = normal / jnp.maximum(_length(normal), _TINY)
    turn = jnp.deg2rad(jnp.asarray(angle, random.dtype))[..., None]
    mapped = length * (jnp.cos(turn) * unit + jnp.sin(turn) * normal)
    return jnp.where(source_length < _TINY, random, mapped)


def keep_appearance(
    random: Float[Array, "*b d"],
    source: Float[Array, "*b d"],
    directions: Float[Array, "k d"],
    angle: float | Float[Array, ""] | Float[Array, "*b"] = 90.0,
) -> Float[Array, "*b d"]:
    """A unit vector with the source's components along `directions` (eq. 3).

    Args:
      random: unit vectors, whose rest the result's rest is made of.
      source: unit vectors.
      directions: P, orthonormal rows; k < d - 1.
      angle: degrees in [0, 180] between what `directions` leave of both.
    """

    def split(f):
        kept = (f @ directions.T) @ directions
        return kept, f - kept

    kept, source_rest = split(source)
    share = jnp.clip(jnp.sum(kept * kept, axis=-1), 0.0, 1.0 - _TINY)
    mapped = orthogonal_map(split(random)[1], source_rest, angle)
    # A fallback axis of a parallel sample may leave the complement; so again.
    mapped = split(mapped)[1]
    mapped = mapped / jnp.maximum(_length(mapped), _TINY)
    return kept + jnp.sqrt(1.0 - share)[..., None] * mapped
