"""MobileFaceNet: a recognizer of one million parameters, ready for use.

Owns the architecture of the two public kinds: with PReLU (insightface's model zoo) and
with ReLU6 and one more layer in the stem. Batch normalisations stand folded into the
convolutions. Weights come from `convert`.
Source: Chen et al. 2018, table 1.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.recognizers.iresnet import PRelu

ACTIVATIONS = ("prelu", "relu6")


class Bottleneck(nn.Module):
    """Expand, depthwise, project without activation; plus the input where it fits."""

    hidden: int
    features: int
    stride: int
    activation: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k l d"]:
        h = nn.Dense(self.hidden, dtype=self.dtype, name="expand")(x)
        h = _activate(self.activation, self.dtype, "expand_act")(h)
        h = _depthwise(self.hidden, 3, self.stride, self.dtype, "depthwise")(h)
        h = _activate(self.activation, self.dtype, "depthwise_act")(h)
        h = nn.Dense(self.features, dtype=self.dtype, name="project")(h)
        return x + h if h.shape == x.shape else h


def _depthwise(features, kernel, stride, dtype, name, padding=1):
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=padding,
        feature_group_count=features,
        dtype=dtype,
        name=name,
    )


def _activate(kind, dtype, name):
    if kind not in ACTIVATIONS:
        raise ValueError(f"activation is {kind!r}; expected one of {ACTIVATIONS}")
    return PRelu(dtype=dtype, name=name) if kind == "prelu" else nn.relu6


class MobileFaceNet(nn.Module):
    """Faces (b, 112, 112, 3) to embeddings (b, dim), float32, not normalized.

    Args:
      stem: channels of the first two layers.
      stem_projects: whether a pointwise layer follows them.
      blocks: (hidden, features, stride) of each bottleneck.
      last: channels before the spatial size is contracted.
      dim: length of the embedding.
      activation: "prelu" or "relu6".
      offset, scale: the input is (x - offset) * scale; 0 and 1 if it comes prepared.
    """

    stem: int
    stem_projects: bool
    blocks: tuple[tuple[int, int, int], ...]
    last: int
    dim: int
    activation: str
    offset: float = 0.0
    scale: float = 1.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        # The second layer's activation has no ceiling in the ReLU6 kind.
        plain = _activate if self.activation == "prelu" else lambda *_: nn.relu
        x = ((x - self.offset) * self.scale).astype(self.dtype)
        x = nn.Conv(
            self.stem, (3, 3), strides=2, padding=1, dtype=self.dtype, name="stem"
        )(x)
        x = _activate(self.activation, self.dtype, "stem_act")(x)
        x = _depthwise(self.stem, 3, 1, self.dtype, "stem_depthwise")(x)
        x = plain(self.activation, self.dtype, "stem_depthwise_act")(x)
        if self.stem_projects:
            x = nn.Dense(self.stem, dtype=self.dtype, name="stem_project")(x)
            x = plain(self.activation, self.dtype, "stem_project_act")(x)
        for i, block in enumerate(self.blocks):
            x = Bottleneck(
                *block, self.activation, dtype=self.dtype, name=f"block_{i}"
            )(x)
        x = nn.Dense(self.last, dtype=self.dtype, name="expand")(x)
        x = _activate(self.activation, self.dtype, "expand_act")(x)
        x = _depthwise(self.last, x.shape[1], 1, self.dtype, "contract", 0)(x)
        return nn.Dense(self.dim, name="project")(x[:, 0, 0].astype(jnp.float32))
