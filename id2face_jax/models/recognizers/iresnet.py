"""ArcFace's improved residual network (IResNet), ready for use, not for training.

Owns the recognizer of the full scale: an aligned 112 px face to an embedding. Batch
normalisations are constants at use, so they stand folded into the convolutions around
them; only the one that opens a block stays, since a convolution that pads with zeros
cannot take up a shift. Weights come from `convert`; the public ones (insightface) are
for non-commercial research only.

Input: RGB, (x - 127.5) / 127.5, aligned to the ArcFace template.
Source: Deng et al. 2019 (ArcFace) and insightface's recognition/arcface_torch, whose
strides are in the second convolution of a block.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class PRelu(nn.Module):
    """max(x, 0) + slope min(x, 0), a slope for each channel."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x >= 0, x, slope.astype(self.dtype) * x)


class Affine(nn.Module):
    """scale x + bias, for each channel: a batch normalisation at use."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x * scale.astype(self.dtype) + bias.astype(self.dtype)


class Block(nn.Module):
    """Affine, conv, PReLU, strided conv; plus the input, brought to that shape."""

    features: int
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k l d"]:
        def conv(name, kernel, stride):
            # Explicit: 'SAME' at stride 2 pads (0, 1), insightface (1, 1).
            pad = kernel // 2
            return nn.Conv(
                self.features,
                (kernel, kernel),
                strides=stride,
                padding=pad,
                dtype=self.dtype,
                name=name,
            )

        h = Affine(dtype=self.dtype, name="norm")(x)
        h = PRelu(dtype=self.dtype, name="prelu")(conv("conv1", 3, 1)(h))
        h = conv("conv2", 3, self.stride)(h)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = conv("downsample", 1, self.stride)(x)
        return x + h


class IResNet(nn.Module):
    """Faces (b, 112, 112, 3) to embeddings (b, dim), float32, not normalized.

    Args:
      dims: width of the four stages, each of which halves the size.
      depths: blocks a stage: r50 has (3, 4, 14, 3), r100 (3, 13, 30, 3).
      dim: length of the embedding.
    """

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    dim: int = 512
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        x = nn.Conv(self.dims[0], (3, 3), padding=1, dtype=self.dtype, name="stem")(x)
        x = PRelu(dtype=self.dtype, name="stem_prelu")(x)
        for stage, (features, depth) in enumerate(
            zip(self.dims, self.depths, strict=True)
        ):
            for i in range(depth):
                stride = 2 if i == 0 else 1
                name = f"stage_{stage}_{i}"
                x = Block(features, stride, dtype=self.dtype, name=name)(x)
        return nn.Dense(self.dim, name="project")(x.reshape(x.shape[0], -1))
