"""The denoising UNet: noisy latent, known surroundings and condition to a prediction.

Owns the U shape. Three ideas, all ours: (1) dense layers do the work (see `layers`);
(2) a harmonizer stands where a block's normalisation would; (3) the input holds the
noisy latent z_t, the masked image's latent z_m, the mask and the template of the
wanted identity side by side.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models import attention
from id2face_jax.models.harmonizer import Harmonizer
from id2face_jax.models.layers import (
    Attention,
    Mlp,
    ShiftConv,
    depth_to_space,
    rms_norm,
    space_to_depth,
    time_embedding,
)
from id2face_jax.models.recomposer import Condition

# Beside what a kernel of attention asks for; XLA's asks for nothing.
_KERNELS = jax.checkpoint_policies.save_only_these_names(attention.SAVED)
REMAT_POLICIES = {
    "full": _KERNELS,
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _KERNELS
    ),
}


class Block(nn.Module):
    """ShiftConv, harmonizer, time shift, Mlp; then attention where asked."""

    ratio: float
    attention: bool
    fusion: str = "gated"
    kernel: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b s s c"],
        temb: Float[Array, "b k"],
        condition: Condition,
    ) -> Float[Array, "b s s c"]:
        h = ShiftConv(dtype=self.dtype, name="mix")(x)
        harmonizer = Harmonizer(self.fusion, dtype=self.dtype, name="harmonizer")
        h = harmonizer(h, temb, condition)
        shift = nn.Dense(x.shape[-1], dtype=self.dtype, name="time")(temb)
        x = x + Mlp(self.ratio, dtype=self.dtype, name="mlp")(h + shift[:, None, None])
        if self.attention:
            x = Attention(kernel=self.kernel, dtype=self.dtype, name="attention")(x)
        return x


def rematerialised(block: type[nn.Module], remat: str) -> type[nn.Module]:
    """`block`, whose inside the backward pass recomputes as `remat` says.

    remat: "none", "full" or "dots". With explicit names the tree stays the same.
    """
    if remat == "none":
        return block
    if remat not in REMAT_POLICIES:
        raise ValueError(
            f"train.remat is {remat!r}; use none or one of {sorted(REMAT_POLICIES)}"
        )
    return nn.remat(block, policy=REMAT_POLICIES[remat])


class UNet(nn.Module):
    """Predicts v or x0 (the caller knows which) from the noisy latent.

    Args (from config.model):
      dims: width at each level; level i works at 1 / 2^i of the latent's size.
      depths: blocks on the way down and again on the way up, a level; the last
        level is the middle and runs its blocks once.
      ratio: expansion of the Mlp.
      attention_from: first level whose blocks attend.
      fusion: of the harmonizers, one of `harmonizer.FUSIONS`.
      kernel: of the attention, see `attention.attend`.
      remat: "none", "full" or "dots": what the backward pass recomputes.
    """

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    ratio: float
    attention_from: int
    fusion: str = "gated"
    kernel: str = "auto"
    remat: str = "none"
    dtype: DTypeLike = jnp.float32

    def _level(self, x, level, way, temb, condition):
        block = rematerialised(Block, self.remat)
        for i in range(self.depths[level]):
            x = block(
                self.ratio,
                attention=level >= self.attention_from,
                fusion=self.fusion,
                kernel=self.kernel,
                dtype=self.dtype,
                name=f"{way}_{level}_{i}",
            )(x, temb, condition)
        return x

    @nn.compact
    def __call__(
        self,
        zt: Float[Array, "b h h c"],
        zm: Float[Array, "b h h c"],
        mask: Float[Array, "b h h 1"],
        t: Float[Array, " b"],
        condition: Condition,
    ) -> Float[Array, "b h h c"]:
        def dense(dim, name):
            return nn.Dense(dim, dtype=self.dtype, name=name)

        h = time_embedding(t, 128).astype(self.dtype)
        temb = nn.silu(dense(256, "time_in")(h))
        known = [zt, zm, mask]
        if condition.template is not None:
            # It is trained by its own error, and stays an honest average that way.
            known.append(jax.lax.stop_gradient(condition.template))
        x = jnp.concatenate(known, axis=-1).astype(self.dtype)
        x = nn.Conv(self.dims[0], (3, 3), dtype=self.dtype, name="stem")(x)
        skips = []
        last = len(self.dims) - 1
        for level in range(last):
            x = self._level(x, level, "down", temb, condition)
            skips.append(x)
            x = dense(self.dims[level + 1], f"shrink_{level}")(space_to_depth(x, 2))
        x = self._level(x, last, "middle", temb, condition)
        for level in reversed(range(last)):
            x = depth_to_space(dense(4 * self.dims[level], f"grow_{level}")(x), 2)
            x = jnp.concatenate([x, skips[level]], axis=-1)
            x = dense(self.dims[level], f"merge_{level}")(x)
            x = self._level(x, level, "up", temb, condition)
        zeros = nn.initializers.zeros
        out = nn.Dense(zt.shape[-1], kernel_init=zeros, name="out")
        return out(rms_norm(x).astype(jnp.float32))
