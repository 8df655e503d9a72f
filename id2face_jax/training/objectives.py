"""What the two stages minimise: draws, forward passes, weighted terms.

An objective has `draw(key, batch)`, the step's randomness for a whole batch, and
`loss(params, frozen, batch, draws) -> (scalar, metrics)`. The terms are in `losses`,
the networks in `models`; the weights are config.loss and config.autoencoder.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections

from id2face_jax import identity
from id2face_jax.diffusion import process
from id2face_jax.generation.generate import encode_crops, to_float
from id2face_jax.models.build import make_autoencoder, make_model, noise_schedule
from id2face_jax.models.recognizers import dlib_resnet
from id2face_jax.training import losses


def _latent_side(config: ml_collections.ConfigDict, batch: dict) -> int:
    return batch["image_a"].shape[1] // make_autoencoder(config).factor


@dataclasses.dataclass(frozen=True)
class AutoencoderObjective:
    """Reconstruction of both photos of each pair, with noise on the latent (ours)."""

    config: ml_collections.ConfigDict

    def draw(self, key: jax.Array, batch: dict) -> dict:
        """Latent noise (b, 2, h, h, c)."""
        num, side = batch["image_a"].shape[0], _latent_side(self.config, batch)
        shape = (num, 2, side, side, self.config.autoencoder.latent_channels)
        return {"noise": jax.random.normal(key, shape)}

    def loss(self, params, frozen, batch, draws):
        """L1 and L2 to the photo, weights config.autoencoder.{l1,l2}_weight."""
        del frozen
        ae = self.config.autoencoder
        model = make_autoencoder(self.config)
        x = jnp.concatenate([to_float(batch["image_a"]), to_float(batch["image_b"])])
        noise = jnp.concatenate([draws["noise"][:, 0], draws["noise"][:, 1]])
        z = model.apply({"params": params}, x, method="encode")
        z = z + ae.latent_noise * noise
        rebuilt = model.apply({"params": params}, z, method="decode")
        l1 = jnp.mean(jnp.abs(rebuilt - x))
        l2 = jnp.mean(jnp.square(rebuilt - x))
        loss = ae.l1_weight * l1 + ae.l2_weight * l2
        # Peak-to-peak is 2 in [-1, 1].
        psnr = 10.0 * jnp.log10(4.0 / l2)
        return loss, {"loss": loss, "l1": l1, "l2": l2, "psnr": psnr}


@dataclasses.dataclass(frozen=True)
class RecompositionObjective:
    """The diffusion stage: both directions of every pair, all terms of `losses`."""

    config: ml_collections.ConfigDict

    def draw(self, key: jax.Array, batch: dict) -> dict:
        """Times, start noise, latent noises, dropout: (b, 2, ...), a direction each."""
        model = self.config.model
        num, side = batch["image_a"].shape[0], _latent_side(self.config, batch)
        keys = jax.random.split(key, 6)
        channels = self.config.autoencoder.latent_channels
        grid = side // model.attribute_stride
        attributes = (num, 2, grid, grid, model.attribute_channels)
        # One offset, then equal spacing: every step sees all noise levels, so the
        # loss is less noisy (Kingma et al. 2021, appendix I.1).
        where = jnp.arange(2 * num).reshape(num, 2) / (2 * num)
        drop = self.config.loss.identity_dropout
        return {
            "t": (where + jax.random.uniform(keys[0])) % 1.0,
            "noise": jax.random.normal(keys[1], (num, 2, side, side, channels)),
            "identity": jax.random.normal(keys[2], (num, 2, model.identity_dim)),
            "stranger": jax.random.normal(keys[5], (num, 2, model.identity_dim)),
            "attributes": jax.random.normal(keys[3], attributes),
            "keep": jax.random.bernoulli(keys[4], 1.0 - drop, (num, 2)).astype(
                jnp.float32
            ),
        }

    def loss(self, params, frozen, batch, draws):
        """The weighted sum of the terms in `losses`, with each term as a metric."""
        side = Sides(batch, draws)
        x = to_float(side.images)
        z, zm, mask = encode_crops(self.config, frozen["autoencoder"], x, side.masks)
        terms, f_hat = self._identity_terms(params, side)
        plan = self.plan(params, side, f_hat)
        more, levels, x0 = self._recomposition_terms(params, side, plan, z, zm, mask)
        terms |= more
        if self.config.loss.judge_every:
            terms |= self._judged_terms(frozen, side, plan, x0)
        if self.config.loss.critic_dim:
            terms |= self._critic_terms(params, z, mask, x0)
        weights = self.config.loss
        loss = sum(weights[name] * value for name, value in terms.items())
        return loss, {"loss": loss} | terms | levels

    def _identity_terms(self, params, side):
        """Terms 2 to 5, and the decoded identity of each photo."""
        model, weights = make_model(self.config), self.config.loss
        apply = {"params": params}
        mu, logvar = model.apply(apply, side.embeddings, method="encode_identity")
        u = mu + jnp.exp(0.5 * logvar) * side.draws["identity"]
        f_hat = model.apply(apply, u, method="decode_identity")
        distance = losses.cosine_distance(f_hat, side.embeddings)
        crossed = losses.cosine_distance(f_hat, side.swap(side.embeddings))
        align = losses.symmetric_kl(mu, logvar, side.swap(mu), side.swap(logvar))
        return {
            "identity_reconstruction": jnp.mean(distance),
            "identity_kl": losses.identity_kl(mu, logvar, weights.identity_free_nats),
            "identity_consistency": losses.mean_over(crossed, side.is_pair),
            "identity_alignment": losses.mean_over(align, side.is_pair),
        }, f_hat

    def plan(self, params, side, f_hat):
        """Which identity each row is denoised with, at which time, and who is judged.

        Identity of a goes with attributes of b, and the reverse. Every `judge_every`-th
        row is judged by the recogniser, at the large t where a sampler decides who
        appears. Each second one of them takes a sampled stranger, orthogonal to its own
        identity as at inference: it has no photo to denoise to.
        """
        model, weights = make_model(self.config), self.config.loss
        draws, f = side.draws, side.swap(f_hat)
        plan = {"f": f, "t": draws["t"], "keep": draws["keep"]}
        if not weights.judge_every:
            return plan | {"is_cross": jnp.zeros_like(draws["t"])}
        stranger = model.apply(
            {"params": params}, draws["stranger"], method="decode_identity"
        )
        stranger = identity.orthogonal_map(stranger, side.embeddings)
        row = jnp.arange(f.shape[0])
        is_judged = (row % weights.judge_every == 0).astype(f.dtype)
        is_cross = (row % (2 * weights.judge_every) == 0).astype(f.dtype)
        late = weights.judge_t_min + (1.0 - weights.judge_t_min) * draws["t"]
        return {
            "f": jnp.where(is_cross[:, None] > 0, jax.lax.stop_gradient(stranger), f),
            "t": jnp.where(is_judged > 0, late, draws["t"]),
            "keep": jnp.maximum(draws["keep"], is_judged),
            "is_cross": is_cross,
        }

    def _recomposition_terms(self, params, side, plan, z, zm, mask):
        """Terms 1 and 6 to 10, term 1 by noise level, and every row's x0 estimated."""
        config, draws, t = self.config, side.draws, plan["t"]
        model, apply = make_model(config), {"params": params}
        mu, logvar = model.apply(apply, z, method="encode_attributes")
        a = mu + jnp.exp(0.5 * logvar) * draws["attributes"]
        condition = model.apply(apply, plan["f"], a, plan["keep"], method="recompose")
        alpha, sigma = noise_schedule(config)(t)
        zt = process.mix(z, draws["noise"], alpha, sigma)
        kind = config.model.prediction
        seen = process.network_input(kind, zt, alpha)
        out = model.apply(apply, seen, zm, mask, t, condition, method="denoise")
        target = process.target(kind, z, draws["noise"], alpha, sigma)
        error = losses.masked_error(out, target, mask, config.loss.outside_mask)
        error *= process.v_weight(kind, sigma, config.loss.max_v_weight)
        own = 1.0 - plan["is_cross"]
        x0 = process.to_x0(kind, out, zt, alpha, sigma)
        mu_again, _ = model.apply(apply, x0, method="encode_attributes")
        terms = {
            "recomposition": losses.mean_over(error, own),
            "attribute_alignment": losses.attribute_alignment(
                mu_again, mu, jnp.square(alpha)
            ),
            "attribute_kl": losses.attribute_kl(mu, logvar),
        } | self._leak_terms(params, mu, side.embeddings)
        levels = losses.by_quarter("recomposition", error, t, own)
        if config.model.portrait:
            error = losses.masked_error(
                condition.portrait, z, mask, config.loss.outside_mask
            )
            terms["portrait"] = losses.mean_over(error, own)
        return terms, levels, x0

    def _leak_terms(self, params, mu, embeddings):
        """Terms 8 and 9: the adversary's, and the encoder's against it."""
        model, still = make_model(self.config), jax.lax.stop_gradient

        def read(params, mu):
            return model.apply({"params": params}, mu, method="probe_identity")

        guess = read(params, still(mu))
        return {
            "leak_probe": jnp.mean(losses.cosine_distance(guess, embeddings)),
            "identity_leak": jnp.mean(
                losses.likeness(read(still(params), mu), embeddings)
            ),
        }

    def _critic_terms(self, params, z, mask, x0):
        """Terms 13 and 14: the critic's, and the drawing networks' against it."""
        model, still = make_model(self.config), jax.lax.stop_gradient
        # Each frequency at the size it has in photos: the fine ones, which softness
        # loses, are a tenth of the coarse ones.
        scale = 1.0 / (jnp.std(z, axis=(0, 1, 2)) + 1e-3)
        drawn = mask * x0 + (1.0 - mask) * z

        def read(params, x):
            return model.apply(
                {"params": params}, scale * x, mask, method="judge_latents"
            )

        real, fake = read(params, z), read(params, still(drawn))
        doubt = jax.nn.relu(1.0 - real) + jax.nn.relu(1.0 + fake)
        return {
            "critic": jnp.mean(losses.patch_mean(doubt, mask)),
            "realism": -jnp.mean(losses.patch_mean(read(still(params), drawn), mask)),
        }

    def _judged_terms(self, frozen, side, plan, x0):
        """Terms 11 and 12: who the recogniser sees in every `judge_every`-th row."""

        def rows(x):
            return x[:: self.config.loss.judge_every]

        decoded = make_autoencoder(self.config).apply(
            {"params": frozen["autoencoder"]}, rows(x0), method="decode"
        )
        masks = rows(side.masks)[..., None]
        face = masks * decoded + (1.0 - masks) * to_float(rows(side.images))
        recognizer = frozen["recognizer"]
        seen = dlib_resnet.whiten(
            dlib_resnet.embed_crops(recognizer["params"], face),
            recognizer["mean"],
            recognizer["matrix"],
        )
        asked = jax.lax.stop_gradient(rows(plan["f"]))
        left = losses.likeness(seen, rows(side.embeddings))
        return {
            "judged_identity": jnp.mean(losses.cosine_distance(seen, asked)),
            "judged_source": losses.mean_over(left, rows(plan["is_cross"])),
        }


class Sides:
    """A batch of pairs as 2b photos: all a's, then all b's."""

    def __init__(self, batch: dict, draws: dict):
        self.images = jnp.concatenate([batch["image_a"], batch["image_b"]])
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
