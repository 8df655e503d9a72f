"""MobileNet (version 1) as a face recognizer, ready for use, not for training.

Owns the network of the public `faceres` model (HSE_FaceRec_tf, Apache 2.0, trained on
VGGFace2): of another kind, data and authors than dlib's, so that each sees what the
other does not. Batch normalisations stand folded into the convolutions. Weights come
from `convert`.

Input: BGR less its mean, any size from 96 pixels on; it was trained at 224.
Source: Howard et al. 2017, table 1.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class StridedShiftConv(nn.Module):
    """Depthwise 3x3 convolution, TensorFlow's 'SAME', as nine shifted multiply-adds.

    A grouped convolution would be six times slower on CPUs.
    """

    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k l c"]:
        channels, stride = x.shape[-1], self.stride
        kernel = self.param("kernel", nn.initializers.normal(), (3, 3, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        sides = [-(-size // stride) for size in x.shape[1:3]]
        # The odd pixel of padding goes to the end.
        short = [
            max((to - 1) * stride + 3 - size, 0)
            for to, size in zip(sides, x.shape[1:3], strict=True)
        ]
        padded = jnp.pad(x, [(0, 0), *((s // 2, s - s // 2) for s in short), (0, 0)])
        reach = [(to - 1) * stride + 1 for to in sides]
        return bias + sum(
            padded[:, i : i + reach[0] : stride, j : j + reach[1] : stride]
            * kernel[i, j]
            for i in range(3)
            for j in range(3)
        )


class MobileNet(nn.Module):
    """Faces (b, s, s, 3) to embeddings (b, dim), float32, neither centered nor unit.

    Args:
      stem: channels of the first convolution, which halves the size.
      blocks: (features, stride) of each depthwise and pointwise pair; the last one's
        features, averaged over the map, are the embedding.
    """

    stem: int
    blocks: tuple[tuple[int, int], ...]

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.blocks[-1][0]

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
        x = nn.relu6(nn.Conv(self.stem, (3, 3), strides=2, name="stem")(x))
        for i, (features, stride) in enumerate(self.blocks):
            x = nn.relu6(StridedShiftConv(stride, name=f"depthwise_{i}")(x))
            x = nn.relu6(nn.Dense(features, name=f"pointwise_{i}")(x))
        return jnp.mean(x, axis=(1, 2))
