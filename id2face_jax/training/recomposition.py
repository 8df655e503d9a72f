"""What the diffusion stage minimizes: recomposed pairs, and rows as they are deployed.

Three kinds of pairs make a batch. Most are recomposed: the identity of one photo with
the attributes of the other must denoise to the other. Each `deployed_every`-th is
treated as the anonymizer treats a photo: a sampled identity, held away from the
source's, and no photo to denoise to; frozen recognizers, the attribute encoder and the
critic say what is wrong with it. Each `returned_every`-th is recomposed with attributes
that were read from an anonymized face: who was there must then come from the identity
that is asked for, since the attributes show somebody else. Which pairs those are
follows from their place in the batch, so neither sharding nor accumulation changes it.

The terms are in `losses`; networks, schedule and weights are fields, made from a config
by `objectives.make_recomposition`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Float

from id2face_jax import identity
from id2face_jax.diffusion import process
from id2face_jax.generation.generate import encode_latents, to_float
from id2face_jax.models.id2face import ID2Face
from id2face_jax.models.recognizers import dlib_resnet
from id2face_jax.training import losses

_still = jax.lax.stop_gradient


@dataclasses.dataclass(frozen=True)
class Recomposition:
    """The objective of task "id2face".

    Attributes:
      model, autoencoder: networks; the latter frozen.
      prediction, alpha_sigma: what the UNet predicts, and the noise schedule.
      weights: config.loss.
      masked: whether the UNet sees what is outside the mask.
      view: the map from a crop to the recognizer's view.
      emphasis: (h, h), weight of each latent cell in the recomposition error.
      second: a recognizer beside dlib's, for deployed rows and a second probe, as
        `crops.CropRecognizer`; or None.
      directions: (k, d) of appearance, which sampled identities keep of the source as
        the anonymizer's do; None: they do not.
    """

    model: ID2Face
    autoencoder: object
    prediction: process.Prediction
    alpha_sigma: Callable
    weights: ml_collections.FrozenConfigDict
    masked: bool
    view: Float[np.ndarray, "2 3"]
    emphasis: Float[np.ndarray, "h h"]
    second: Callable | None = None
    directions: Float[np.ndarray, "k d"] | None = None

    def draw(self, key: jax.Array, batch: dict) -> dict:
        """The step's randomness for a whole batch, (b, 2, ...), a photo each.

        Times (see `_times`), the deployed rows' own times, start noise, noise of both
        latents, sampled identities, and 1 or 0 for keeping the identity.
        """
        num = batch["image_a"].shape[0]
        side = batch["image_a"].shape[1] // self.autoencoder.factor
        keys = jax.random.split(key, 8)
        grid = side // self.model.attribute_stride
        latent = (num, 2, side, side, self.autoencoder.latent_channels)
        who = (num, 2, self.model.identity_dim)
        attributes = (num, 2, grid, grid, self.model.attribute_channels)
        keep = 1.0 - self.weights.identity_dropout
        late = jax.random.uniform(keys[6], (num, 2), minval=self.weights.deployed_t_min)
        at_start = jax.random.bernoulli(keys[7], 0.5, (num, 2))
        return {
            "t": self._times(keys[0], num),
            "deployed_t": jnp.where(at_start, 1.0, late),
            "noise": jax.random.normal(keys[1], latent),
            "identity": jax.random.normal(keys[2], who),
            "sampled": jax.random.normal(keys[5], who),
            "attributes": jax.random.normal(keys[3], attributes),
            "keep": jax.random.bernoulli(keys[4], keep, (num, 2)).astype(jnp.float32),
        }

    def _times(self, key: jax.Array, num: int) -> jax.Array:
        """(num, 2) times: a share of exactly 1, the rest logit-normal, stratified."""
        weights = self.weights
        where = jax.random.permutation(key, 2 * num).reshape(num, 2)
        u = (where + jax.random.uniform(jax.random.fold_in(key, 1))) / (2 * num)
        inner = (u - weights.t_one_share) / (1.0 - weights.t_one_share)
        normal = jax.scipy.special.ndtri(jnp.clip(inner, 1e-4, 1.0 - 1e-4))
        t = jax.nn.sigmoid(weights.t_mean + weights.t_std * normal)
        return jnp.where(u < weights.t_one_share, 1.0, jnp.maximum(t, 0.01))

    def loss(self, params, frozen, batch, draws):
        """The weighted sum of the terms in `losses`, with each term as a metric."""
        side = Sides(batch, draws)
        x = side.pixels
        z, zm, mask = encode_latents(
            self.autoencoder, frozen["autoencoder"], x, side.masks, self.masked
        )
        terms, f_hat = self._identity_terms(params, side)
        supplied = self._suppliers(params, side, z, zm, mask)
        mu, logvar = self._apply(params, supplied, method="encode_attributes")
        a = mu + jnp.exp(0.5 * logvar) * side.draws["attributes"]
        f, keep, is_deployed = self._requests(params, side, f_hat)
        condition = self._apply(params, f, a, keep, method="recompose")
        t, zt = self._noisy(params, side, condition, z, zm, mask)
        alpha, sigma = self.alpha_sigma(t)
        seen = self.prediction.network_input(zt, alpha, sigma)
        out = self._apply(params, seen, zm, mask, t, condition, method="denoise")
        x0 = self.prediction.to_x0(out, zt, alpha, sigma)

        own = 1.0 - is_deployed
        target = self.prediction.target(z, side.draws["noise"], alpha, sigma)
        error = self._error(out, target, mask)
        error *= self.prediction.weight(sigma, self.weights.max_v_weight)
        terms["recomposition"] = losses.mean_over(error, own)
        terms["attribute_kl"] = losses.attribute_kl(mu, logvar)
        if condition.template is not None:
            drawn = losses.masked_error(condition.template, z, mask, self._outside)
            terms["portrait"] = losses.mean_over(drawn, own)
        terms |= self._adversary_terms(params, side, mu)
        if self.second:
            who = _still(self.second(frozen["second"], self._deployed(x)))
            terms |= self._second_terms(params, self._deployed(mu), who)
        if self.weights.deployed_every:
            terms |= self._deployed_terms(params, *self._deployed((x0, mu, logvar)))
            faces = self._faces(frozen, side, x0)
            if "recognizer" in frozen:
                terms |= self._identity_seen(frozen["recognizer"], side, f, faces)
            if self.second:
                seen = self.second(frozen["second"], faces)
                terms["second_source"] = jnp.mean(losses.similarity(seen, who))
        if self.weights.critic_dim:
            terms |= self._critic_terms(params, z, mask, x0, t)
        loss = sum(self.weights[name] * value for name, value in terms.items())
        levels = losses.by_quarter("recomposition", error, t, own)
        return loss, {"loss": loss} | terms | levels

    def _apply(self, params, *args, method: str):
        return self.model.apply({"params": params}, *args, method=method)

    @property
    def _outside(self) -> float:
        return self.weights.outside_mask

    def _error(self, out, target, mask):
        """Squared error a row: channels by their size in z, cells by `emphasis`."""
        scale = self.autoencoder.sigma_data
        channels = jnp.asarray(scale / scale.mean())
        cells = jnp.asarray(self.emphasis)[None, ..., None]
        if self.prediction.kind != "preconditioned":
            channels = jnp.ones_like(channels)
        return losses.masked_error(
            out, target, mask, self._outside, channels=channels, cells=cells
        )

    def _identity_terms(self, params, side):
        """Terms 2 to 5, and the decoded identity of each photo."""
        mu, logvar = self._apply(params, side.embeddings, method="encode_identity")
        u = mu + jnp.exp(0.5 * logvar) * side.draws["identity"]
        f_hat = self._apply(params, u, method="decode_identity")
        distance = losses.cosine_distance(f_hat, side.embeddings)
        crossed = losses.cosine_distance(f_hat, side.swap(side.embeddings))
        align_both = losses.symmetric_kl(mu, logvar, side.swap(mu), side.swap(logvar))
        free_nats = self.weights.identity_free_nats
        return {
            "identity_reconstruction": jnp.mean(distance),
            "identity_kl": losses.identity_kl(mu, logvar, free_nats),
            "identity_consistency": jnp.mean(crossed * side.is_pair),
            "identity_alignment": jnp.mean(align_both * side.is_pair),
        }, f_hat

    def _is_deployed(self, num: int) -> np.ndarray:
        """(num,) float32: 1 for the rows of deployed pairs."""
        every = self.weights.deployed_every
        if not every:
            return np.zeros(num, np.float32)
        _check_divides("deployed_every", num // 2, every)
        return (np.arange(num) % every == 0).astype(np.float32)

    def _deployed(self, x):
        """The rows of deployed pairs."""
        return jax.tree.map(lambda x: x[:: self.weights.deployed_every], x)

    def _requests(self, params, side, f_hat):
        """(identity asked for, whether it is told, whether the row is deployed).

        Recomposed rows ask for the identity of the pair's other photo.
        """
        f, keep = side.swap(f_hat), side.draws["keep"]
        is_deployed = jnp.asarray(self._is_deployed(len(f)))
        if not self.weights.deployed_every:
            return f, keep, is_deployed
        sampled = self._sampled(params, side.draws["sampled"], side.embeddings)
        f = jnp.where(is_deployed[:, None] > 0, _still(sampled), f)
        return f, jnp.maximum(keep, is_deployed), is_deployed

    def _sampled(self, params, draws, source):
        """Identities as the anonymizer samples them, held away from the source's."""
        sampled = self._apply(params, draws, method="decode_identity")
        angle = self.weights.deployed_angle
        if self.directions is None:
            return identity.orthogonal_map(sampled, source, angle)
        directions = jnp.asarray(self.directions)
        return identity.keep_appearance(sampled, source, directions, angle)

    def _suppliers(self, params, side, z, zm, mask):
        """What attributes are read from: z, in returned rows an anonymized face.

        That is the network's first step from noise for a sampled identity, and takes
        no gradient.
        """
        every = self.weights.returned_every
        if not every:
            return z
        _check_divides("returned_every", len(z) // 2, every)
        params = _still(params)
        z1, zm1, mask1, embeddings, draws = jax.tree.map(
            lambda x: x[1::every], (z, zm, mask, side.embeddings, side.draws)
        )
        a, _ = self._apply(params, z1, method="encode_attributes")
        f = self._sampled(params, draws["sampled"], embeddings)
        condition = self._apply(params, f, a, jnp.ones(len(f)), method="recompose")
        first = self._first_step(params, draws["noise"], zm1, mask1, condition)
        return z.at[1::every].set(_still(mask1 * first + (1.0 - mask1) * z1))

    def _first_step(self, params, noise, zm, mask, condition):
        """The estimate of x0 from pure noise."""
        ones = jnp.ones(len(noise))
        alpha, sigma = self.alpha_sigma(ones)
        seen = self.prediction.network_input(noise, alpha, sigma)
        out = self._apply(params, seen, zm, mask, ones, condition, method="denoise")
        return self.prediction.to_x0(out, noise, alpha, sigma)

    def _noisy(self, params, side, condition, z, zm, mask):
        """(t, z_t) of each row.

        Deployed rows start from noise, or from what the network makes of it in one
        step, noised again: no photo of the asked identity exists. No gradient flows
        through that step.
        """
        t, noise = side.draws["t"], side.draws["noise"]
        every = self.weights.deployed_every
        if not every:
            return t, process.mix(z, noise, *self.alpha_sigma(t))
        given = self._deployed((noise, zm, mask, condition))
        first = _still(self._first_step(params, *given))
        clean = z.at[::every].set(first)
        t = t.at[::every].set(self._deployed(side.draws["deployed_t"]))
        return t, process.mix(clean, noise, *self.alpha_sigma(t))

    def _adversary_terms(self, params, side, mu):
        """Terms 8, 9 and 15, 16: what two adversaries read in the attributes."""

        def probe(params, mu):
            return self._apply(params, mu, method="probe_identity")

        guess = probe(params, _still(mu))
        terms = {
            "leak_probe": jnp.mean(losses.cosine_distance(guess, side.embeddings)),
            "identity_leak": jnp.mean(
                losses.similarity(probe(_still(params), mu), side.embeddings)
            ),
        }
        if not self.weights.verifier_dim:
            return terms

        def verify(params, mu):
            vectors = self._apply(params, mu, method="verify_attributes")
            return losses.verification(vectors, side.is_pair)

        contrast, _ = verify(params, _still(mu))
        _, excess = verify(_still(params), mu)
        return terms | {"verifier": contrast, "verified_leak": excess}

    def _second_terms(self, params, mu, who):
        """Terms 17 and 18; who: the second recognizer's embeddings of the photos."""

        def probe(params, mu):
            return self._apply(params, mu, method="probe_second")

        guess, read = probe(params, _still(mu)), probe(_still(params), mu)
        return {
            "second_probe": jnp.mean(losses.cosine_distance(guess, who)),
            "second_leak": jnp.mean(losses.similarity(read, who)),
        }

    def _deployed_terms(self, params, x0, mu, logvar):
        """Term 6, of the deployed rows."""
        again, _ = self._apply(_still(params), x0, method="encode_attributes")
        return {"attribute_alignment": losses.attribute_alignment(again, mu, logvar)}

    def _faces(self, frozen, side, x0):
        """The pictures of the deployed rows: decoded under the mask, the photo's own
        around it, (k, s, s, 3) in [-1, 1].
        """
        x0, pixels, masks = self._deployed((x0, side.pixels, side.masks))
        decoded = self.autoencoder.apply(
            {"params": frozen["autoencoder"]}, x0, method="decode"
        )
        masks = masks[..., None]
        return masks * decoded + (1.0 - masks) * pixels

    def _identity_seen(self, recognizer, side, f, faces):
        """Terms 11 and 12, of the deployed rows."""
        asked, source = self._deployed((f, side.embeddings))
        raw = dlib_resnet.embed_crops(
            recognizer["params"], faces, self.view, mirror=False
        )
        seen = dlib_resnet.whiten(raw, recognizer["mean"], recognizer["matrix"])
        return {
            "asked_identity": jnp.mean(losses.cosine_distance(seen, _still(asked))),
            "source_identity": jnp.mean(losses.similarity(seen, source)),
        }

    def _critic_terms(self, params, z, mask, x0, t):
        """Terms 13 and 14, on every second pair, up to loss.critic_t_max.

        From pure noise the best estimate is a mean, which is soft. A sampler of a few
        steps shows some of that, so the critic may look at it, too.
        """
        z, mask, x0, t = (x[::2] for x in (z, mask, x0, t))
        scale = 1.0 / jnp.asarray(self.autoencoder.sigma_data)
        drawn = mask * x0 + (1.0 - mask) * z
        is_late = (t <= self.weights.critic_t_max).astype(jnp.float32)

        def read(x, still: bool):
            own = _still(params) if still else params
            return self._apply(own, scale * x, mask, method="criticize_latents")

        def mean(logits):
            return jnp.mean(is_late * losses.patch_mean(logits, mask))

        critic, adversarial = losses.adversarial_terms(read, z, drawn, mean)
        return {"critic": critic, "adversarial": adversarial}


def _check_divides(name: str, pairs: int, every: int) -> None:
    if pairs % every:
        raise ValueError(
            f"{pairs} pairs in a (micro-)batch are not divisible by "
            f"loss.{name}={every}; change data.batch_size or optim.accumulate"
        )


class Sides:
    """A batch of pairs as 2b photos: all a's, then all b's."""

    def __init__(self, batch: dict, draws: dict):
        self.images = jnp.concatenate([batch["image_a"], batch["image_b"]])
        self.pixels = to_float(self.images)
        masks = jnp.concatenate([batch["mask_a"], batch["mask_b"]])
        self.masks = masks.astype(jnp.float32) / 255.0
        self.embeddings = jnp.concatenate([batch["embedding_a"], batch["embedding_b"]])
        self.is_pair = jnp.concatenate([batch["is_pair"], batch["is_pair"]])
        self.draws = {
            name: jnp.concatenate([value[:, 0], value[:, 1]])
            for name, value in draws.items()
        }

    @staticmethod
    def swap(x: jax.Array) -> jax.Array:
        """The other photo's row for each row."""
        half = x.shape[0] // 2
        return jnp.concatenate([x[half:], x[:half]])
