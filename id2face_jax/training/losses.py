"""The terms of the objective, each one number for a batch, in float32.

Which terms there are is the paper's (recomposition-based reconstruction, an identity
VAE, bidirectional latent alignment: abstract); every formula is ours. For a pair
(a, b) of one person, * the stop-gradient:

    (1)  recomposition   |w (out - target)|^2 for (id a, attr b) -> b and the reverse
    (2)  identity rec.   1 - <Dec(u), f>
    (3)  identity KL     sum_k max(KL_k(q(u|f) | N(0,1)), free bits)
    (4)  consistency     1 - <Dec(u_a), f_b> and the reverse, on real pairs
    (5)  identity align. KL(q_a | q_b) + KL(q_b | q_a), on real pairs
    (7)  attribute KL    sum KL(q(a|z) | N(0,1))
    (8)  leak probe      1 - <P(mu*), f>                   trains the adversary P alone
    (9)  identity leak   max(<P*(mu), f>, 0)               trains the encoder against it
    (10) template        |w (W f* + b - z)|^2, f the identity of the other photo

Deployed rows ask for a sampled g, orthogonal to f, and have no photo to denoise to.
With F a frozen recognizer that looks at the composited estimate of x0 (training only):

    (6)  attribute align |mu*(x0_hat) - mu(z)*|^2 (1 - var)    trains all that draws
    (11) asked identity  1 - <F(x0_hat), g>
    (12) source identity max(<F(x0_hat), f>, 0)

and, with D a critic of latents and x the estimate of x0 inside the mask, z outside:

    (13) critic          max(1 - D(z), 0) + max(1 + D(x*), 0)     trains D alone
    (14) adversarial     -D*(x)                     trains all that draws against it

hinge losses (Lim & Ye 2017), averaged over the patches that the mask covers; and, with
V a verifier that knows which photos are of one person:

    (15) verifier        -log softmax <V(mu_a*), V(mu_b*)>        trains V alone
    (16) verified leak   max(<V*(mu_a), V*(mu_b)> - others, 0)    trains the encoder

and, with G a second frozen recognizer (config.loss.second_recognizer), x the photo:

    (17) second probe    1 - <P2(mu*), G(x)>           trains its adversary P2 alone
    (18) second leak     max(<P2*(mu), G(x)>, 0)       trains the encoder against it
    (19) second source   max(<G(x0_hat), G(x)>, 0)     trains all that draws
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from id2face_jax.models.layers import resize_map


def masked_error(
    output: Float[Array, "b h h c"],
    target: Float[Array, "b h h c"],
    mask: Float[Array, "b h h 1"],
    outside_weight: float,
    channels: Float[Array, " c"] | float = 1.0,
    cells: Float[Array, "1 h h 1"] | float = 1.0,
) -> Float[Array, " b"]:
    """Squared error a sample, weighted 1 inside the mask, outside_weight outside (1).

    Normalized by the weights, so that a large mask counts like a small one.

    channels, cells: further weights inside the mask; `channels` of mean 1.
    """
    weight = mask * cells + outside_weight * (1.0 - mask)
    error = jnp.mean(channels * jnp.square(output - target), axis=-1, keepdims=True)
    total = jnp.sum(weight, axis=(1, 2, 3))
    return jnp.sum(weight * error, axis=(1, 2, 3)) / jnp.maximum(total, 1e-6)


def cosine_distance(
    f_hat: Float[Array, "b d"], f: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """1 - <f_hat, f> of unit vectors (2, 4, 8, 11)."""
    return 1.0 - jnp.sum(f_hat * f, axis=-1)


def similarity(
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
    logvar_supplied: Float[Array, "b g g a"],
) -> Float[Array, ""]:
    """How far a recomposition's attributes are from their supplier's (6).

    In standard deviations of the prior, which the KL (7) holds the attributes to, each
    by the share of it that the supplier's posterior knows: dimensions that say nothing
    count for nothing. (By the posterior's own precision, which is up to a hundred times
    that, the attributes grew from 600 to 1,500 nats in a hundred steps.)
    """
    still = jax.lax.stop_gradient
    gap = jnp.square(mu_recomposed - still(mu_supplied))
    known = jax.nn.relu(-jnp.expm1(still(logvar_supplied)))
    return jnp.mean(known * gap)


def verification(
    vectors: Float[Array, "n d"], is_pair: Float[Array, " n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(a verifier's loss, how much it tells people apart) (15, 16).

    Args:
      vectors: unit; rows i and i + n/2 are two photos of one person.
      is_pair: 1 where these are two photos, 0 where one was used twice.

    The loss is the softmax cross entropy of picking the partner among the other half
    (van den Oord et al. 2018), at a fixed scale. The second number is the partner's
    cosine less the mean one of others, at least 0.
    """
    half = vectors.shape[0] // 2
    cosines = vectors[:half] @ vectors[half:].T
    rows = is_pair[:half]
    same = jnp.diagonal(cosines)
    others = (jnp.sum(cosines, axis=1) - same) / max(half - 1, 1)
    entropy = -jnp.diagonal(jax.nn.log_softmax(10.0 * cosines, axis=1))
    excess = jax.nn.relu(same - jax.lax.stop_gradient(others))
    return jnp.mean(rows * entropy), jnp.mean(rows * excess)


def patch_mean(
    logits: Float[Array, "b g g"], mask: Float[Array, "b h h 1"]
) -> Float[Array, " b"]:
    """Mean over a critic's patches, each by its share of the mask (13, 14).

    Where the mask ends both latents are the same photo, and there is nothing to tell.
    """
    weight = resize_map(mask, logits.shape[1])[..., 0]
    total = jnp.sum(weight, axis=(1, 2))
    return jnp.sum(weight * logits, axis=(1, 2)) / jnp.maximum(total, 1e-6)


def adversarial_terms(
    read: Callable, real: Array, fake: Array, mean: Callable = jnp.mean
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(the critic's hinge loss, the generator's against it) (13, 14).

    Args:
      read: (maps, still) -> logits; with `still` the critic's parameters do not train.
      real, fake: maps, fakes with the generator's gradient.
      mean: of logits, to a scalar.
    """
    seen = read(real, still=False), read(jax.lax.stop_gradient(fake), still=False)
    doubt = jax.nn.relu(1.0 - seen[0]) + jax.nn.relu(1.0 + seen[1])
    return mean(doubt), -mean(read(fake, still=True))


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

    Rows are those marked 1. Means of a batch without a row in a quarter are 0, which
    `metrics.means` takes for none.
    """
    quarter = jnp.minimum(jnp.floor(4.0 * t), 3.0)
    return {
        f"{name}_t{i + 1}": mean_over(value, rows * (quarter == i)) for i in range(4)
    }
