"""The terms of the objective, each one number for a batch, in float32.

Which terms there are is the paper's (recomposition-based reconstruction, an identity
VAE, bidirectional latent alignment: abstract); every formula is ours. For a pair
(a, b) of one person, * the stop-gradient:

    (1)  recomposition   |w (out - target)|^2 for (id a, attr b) -> b and the reverse
    (2)  identity rec.   1 - <Dec(u), f>
    (3)  identity KL     sum_k max(KL_k(q(u|f) | N(0,1)), free bits)
    (4)  consistency     1 - <Dec(u_a), f_b> and the reverse, on real pairs
    (5)  identity align. KL(q_a | q_b) + KL(q_b | q_a), on real pairs
    (6)  attribute align alpha^2 |mu_a(x0_hat) - mu_a(z)*|^2, both directions
    (7)  attribute KL    sum KL(q(a|z) | N(0,1))
    (8)  leak probe      1 - <P(mu*), f>                   trains the adversary P alone
    (9)  identity leak   max(<P*(mu), f>, 0)               trains the encoder against it
    (10) portrait        |w (W f + b - z)|^2, f the identity of the other photo

and, with F a frozen recogniser that looks at the composited estimate of x0 (training
only), for some rows, half of them recomposed with a stranger's g, orthogonal to f:

    (11) judged identity 1 - <F(x0_hat), f or g>          whoever was asked for
    (12) judged source   max(<F(x0_hat), f>, 0)           with a stranger's alone

and, with D a critic of latents and x the estimate of x0 inside the mask, z outside:

    (13) critic          max(1 - D(z), 0) + max(1 + D(x*), 0)     trains D alone
    (14) realism         -D*(x)                     trains all that draws against it

hinge losses (Lim & Ye 2017), averaged over the patches that the mask covers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from id2face_jax.models.layers import resize_map


def masked_error(
    output: Float[Array, "b h h c"],
    target: Float[Array, "b h h c"],
    mask: Float[Array, "b h h 1"],
    outside_weight: float,
) -> Float[Array, " b"]:
    """Squared error a sample, weighted 1 inside the mask, outside_weight outside (1).

    Normalised by the weights, so that a large mask counts like a small one.
    """
    weight = mask + outside_weight * (1.0 - mask)
    error = jnp.mean(jnp.square(output - target), axis=-1, keepdims=True)
    total = jnp.sum(weight, axis=(1, 2, 3))
    return jnp.sum(weight * error, axis=(1, 2, 3)) / jnp.maximum(total, 1e-6)


def cosine_distance(
    f_hat: Float[Array, "b d"], f: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """1 - <f_hat, f> of unit vectors (2, 4, 8, 11)."""
    return 1.0 - jnp.sum(f_hat * f, axis=-1)


def likeness(
    seen: Float[Array, "b d"], source: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """How much of the source is still seen; unlike is enough (9, 12)."""
    return jax.nn.relu(jnp.sum(seen * source, axis=-1))


def kl_standard(mu: Float[Array, "b ..."], logvar: Float[Array, "b ..."]) -> Array:
    """KL(N(mu, exp logvar) | N(0, 1)) in nats, element by element; shape of mu."""
    return 0.5 * (jnp.exp(logvar) + jnp.square(mu) - 1.0 - logvar)


def identity_kl(
    mu: Float[Array, "b u"], logvar: Float[Array, "b u"], free_nats: float
) -> Float[Array, ""]:
    """Identity KL in nats a sample (3). free_nats: per dimension, on batch means.

    Free bits act on the batch's mean of each dimension (Kingma et al. 2016, eq. 15),
    so a dimension may be silent for one face and speak for another.
    """
    per_dim = jnp.mean(kl_standard(mu, logvar), axis=0)
    return jnp.sum(jnp.maximum(per_dim, free_nats))


def attribute_kl(
    mu: Float[Array, "b ..."], logvar: Float[Array, "b ..."]
) -> Float[Array, ""]:
    """Attribute KL in nats a sample, averaged over the batch (7)."""
    return jnp.sum(kl_standard(mu, logvar)) / mu.shape[0]


def symmetric_kl(
    mu_a: Float[Array, "b u"],
    logvar_a: Float[Array, "b u"],
    mu_b: Float[Array, "b u"],
    logvar_b: Float[Array, "b u"],
) -> Float[Array, " b"]:
    """KL(q_a | q_b) + KL(q_b | q_a), averaged over dimensions (5)."""
    gap = jnp.square(mu_a - mu_b)
    forward = (jnp.exp(logvar_a) + gap) * jnp.exp(-logvar_b)
    backward = (jnp.exp(logvar_b) + gap) * jnp.exp(-logvar_a)
    return jnp.mean(0.5 * (forward + backward) - 1.0, axis=-1)


def attribute_alignment(
    mu_recomposed: Float[Array, "b g g a"],
    mu_supplied: Float[Array, "b g g a"],
    weight: Float[Array, " b"],
) -> Float[Array, ""]:
    """How far a recomposition's attributes are from their supplier's (6).

    weight: (b,) alpha^2 of each sample: a prediction from pure noise has no
    attributes of its own to compare.
    """
    gap = jnp.square(mu_recomposed - jax.lax.stop_gradient(mu_supplied))
    return jnp.mean(weight * jnp.mean(gap, axis=(1, 2, 3)))


def patch_mean(
    logits: Float[Array, "b g g"], mask: Float[Array, "b h h 1"]
) -> Float[Array, " b"]:
    """Mean over a critic's patches, each by its share of the mask (13, 14).

    Where the mask ends both latents are the same photo, and there is nothing to tell.
    """
    weight = resize_map(mask, logits.shape[1])[..., 0]
    total = jnp.sum(weight, axis=(1, 2))
    return jnp.sum(weight * logits, axis=(1, 2)) / jnp.maximum(total, 1e-6)


def mean_over(value: Float[Array, " b"], rows: Float[Array, " b"]) -> Float[Array, ""]:
    """Mean of `value` over the rows marked 1; 0 when no row is."""
    return jnp.sum(value * rows) / jnp.maximum(jnp.sum(rows), 1.0)


def by_quarter(
    name: str,
    value: Float[Array, " b"],
    t: Float[Array, " b"],
    rows: Float[Array, " b"],
) -> dict[str, Float[Array, ""]]:
    """`mean_over` of each quarter of time, "name_t1" (least noise) to "name_t4" (ours).

    Rows are those marked 1. Means of a batch without a row in a quarter are 0.
    """
    quarter = jnp.minimum(jnp.floor(4.0 * t), 3.0)
    return {
        f"{name}_t{i + 1}": mean_over(value, rows * (quarter == i)) for i in range(4)
    }
