"""Stable Diffusion checkpoints to our parameters: autoencoders and UNets.

Owns the names. Three spellings of the autoencoder (diffusers', diffusers' before
0.18 with query/key/value/proj_attn, and CompVis') become one, today's diffusers', and
our paths are that one with other punctuation. So is the UNet's. Sizes are read off
the shapes; what shapes do not tell is taken from diffusers' config.json.
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from id2face_jax.convert import matching
from id2face_jax.models.stable_diffusion.autoencoder import StableAutoencoder

# Tensors of a full checkpoint that belong to other networks: CompVis' training losses
# and their statistics, moving averages, text encoders and schedules.
_FOREIGN = re.compile(
    r"(loss|model_ema|cond_stage_model|model\.diffusion_model)\.|[^.]+$"
)
_FIRST_STAGE = "first_stage_model."

_COMPVIS = (
    (r"^(encoder|decoder)\.mid\.block_1\.", r"\1.mid_block.resnets.0."),
    (r"^(encoder|decoder)\.mid\.block_2\.", r"\1.mid_block.resnets.1."),
    (r"^(encoder|decoder)\.mid\.attn_1\.", r"\1.mid_block.attentions.0."),
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.attn\.", r"encoder.down_blocks.\1.attentions."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.up_blocks.\1.resnets."),
    (r"^decoder\.up\.(\d+)\.attn\.", r"decoder.up_blocks.\1.attentions."),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)
_OLD_ATTENTION = (
    (r"(\.attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(\.attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(\.attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
)

# Fields of diffusers' UNet config that change its arithmetic without a trace in the
# shapes, and the only values that our UNet has.
_USUAL = {
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_eps": 1e-5,
    "mid_block_scale_factor": 1,
    "resnet_time_scale_shift": "default",
    "downsample_padding": 1,
    "center_input_sample": False,
    "class_embed_type": None,
    "addition_embed_type": None,
    "time_embedding_type": "positional",
    "dual_cross_attention": False,
    "only_cross_attention": False,
}


def to_key(path: str) -> str:
    """diffusers' key of our path: "decoder/up_blocks_0_resnets_1/conv1/kernel"."""
    numbered = r"(blocks|resnets|attentions|samplers|net|to_out)_(\d+)"
    key = re.sub(numbered, r"\1.\2", path)
    key = re.sub(r"(\d|mid_block)_(?=[a-z])", r"\1.", key)
    key = re.sub(r"(kernel|scale)$", "weight", key)
    key = re.sub(r"embedding$", "embedding.weight", key)
    return key.replace("/", ".")


def is_autoencoder(names) -> bool:
    """Whether these are the tensors of an autoencoder, in any of its spellings."""
    return any(name.endswith("decoder.conv_in.weight") for name in names)


def is_unet(names) -> bool:
    """Whether these are the tensors of a diffusers UNet2DConditionModel."""
    return "time_embedding.linear_1.weight" in names


def _rename(name: str, table) -> str:
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


def autoencoder_tensors(
    tensors: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The autoencoder's tensors under today's diffusers names, and what was left out.

    Left out are the tensors of other networks in a full CompVis checkpoint.
    """
    if any(name.startswith(_FIRST_STAGE) for name in tensors):
        ours = {n for n in tensors if n.startswith(_FIRST_STAGE)}
        foreign = sorted(set(tensors) - ours)
    else:
        ours = set(tensors)
        foreign = []
    stripped = {name.removeprefix(_FIRST_STAGE): tensors[name] for name in ours}
    losses = {name for name in stripped if _FOREIGN.match(name)}
    kept = {name: stripped[name] for name in stripped if name not in losses}
    renamed = {_rename(name, _COMPVIS + _OLD_ATTENTION): v for name, v in kept.items()}
    if any(name.startswith("decoder.up.") for name in kept):
        renamed = _reverse_up(renamed)
    return renamed, sorted(losses) + foreign


def _reverse_up(tensors):
    # CompVis numbers the decoder's levels from the finest, diffusers from the coarsest.
    pattern = re.compile(r"^decoder\.up_blocks\.(\d+)\.")
    last = max(int(m[1]) for m in map(pattern.match, tensors) if m)

    def flip(match):
        return f"decoder.up_blocks.{last - int(match[1])}."

    return {pattern.sub(flip, name): value for name, value in tensors.items()}


def _count(names, pattern: str) -> int:
    """One more than the largest number that `pattern` finds; 0 if it finds none."""
    found = [int(m[1]) for m in (re.match(pattern, name) for name in names) if m]
    return max(found, default=-1) + 1


def autoencoder_config(
    tensors: Mapping[str, np.ndarray], diffusers_config: Mapping, where: str
) -> ml_collections.ConfigDict:
    """config.autoencoder of these tensors (of `autoencoder_tensors`).

    Args:
      tensors: by today's diffusers names.
      diffusers_config: its config.json, or {}: then Stable Diffusion's scale 0.18215,
        or 1 if quantised, and 32 groups.
      where: the file, for messages.
    """
    levels = _count(tensors, r"encoder\.down_blocks\.(\d+)\.")
    dims, depths, attends = [], [], []
    for level in range(levels):
        block = f"encoder.down_blocks.{level}"
        escaped = re.escape(block)
        depths.append(_count(tensors, escaped + r"\.resnets\.(\d+)\."))
        weight = tensors.get(f"{block}.resnets.0.conv1.weight")
        if weight is None:
            raise ValueError(f"{where} lacks {block}.resnets.0.conv1.weight")
        dims.append(weight.shape[0])
        if _count(tensors, escaped + r"\.attentions\.(\d+)\."):
            attends.append(level)
    codes = tensors.get("quantize.embedding.weight")
    scale = diffusers_config.get("scaling_factor", 0.18215 if codes is None else 1.0)
    return ml_collections.ConfigDict(
        {
            "kind": "stable_diffusion",
            "latent_channels": tensors["decoder.conv_in.weight"].shape[1],
            "dims": tuple(dims),
            "depths": tuple(depths),
            "scale": float(scale),
            "codebook": 0 if codes is None else codes.shape[0],
            "attention_levels": tuple(attends),
            "groups": diffusers_config.get("norm_num_groups", 32),
        }
    )


def convert_autoencoder(
    tensors: Mapping[str, np.ndarray], model: StableAutoencoder, where: str
):
    """Parameters of `model` from tensors under today's diffusers names."""
    side = model.factor
    expected = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, side, side, 3))
    )["params"]
    return matching.fill(expected, tensors, to_key, where)


def convert_unet(tensors: Mapping[str, np.ndarray], expected, where: str):
    """Parameters of a `StableUNet` from a UNet2DConditionModel's tensors.

    Args:
      tensors: by diffusers' names.
      expected: the StableUNet's parameters as ShapeDtypeStructs; what diffusers does
        not have (the harmonizers, conv_in_known) is not converted.
      where: the file, for messages.

    Returns:
      The converted part of the tree. `conv_in_known` is in it only if the checkpoint
      is one for inpainting, whose nine input channels are the noisy latent's, the
      mask, the masked image's.
    """
    tensors = {_rename(name, _OLD_ATTENTION): v for name, v in tensors.items()}
    shared = {k: v for k, v in expected.items() if not k.startswith("harmonizer_")}
    known = shared.pop("conv_in_known")
    stem = tensors.get("conv_in.weight")
    noisy, extra = (x["kernel"].shape[2] for x in (shared["conv_in"], known))
    if stem is not None and stem.shape[1] == noisy + extra:
        tensors["conv_in.weight"] = stem[:, :noisy]
        tensors["conv_in_known.weight"] = stem[:, noisy:]
        shared["conv_in_known"] = known
    return matching.fill(shared, tensors, to_key, where)


def check_unet_config(diffusers_config: Mapping, config, where: str) -> None:
    """Raises ValueError where diffusers' config.json asks for what `config` does not.

    Only for what no shape tells: the heads of each level, and kinds of layers that
    our UNet does not have.
    """
    levels = len(config.model.unet_dims)
    # diffusers calls the number of heads attention_head_dim, a known misnomer.
    heads = diffusers_config.get("num_attention_heads")
    heads = heads or diffusers_config.get("attention_head_dim", 8)
    heads = (heads,) * levels if isinstance(heads, int) else tuple(heads)
    ours = tuple(config.model.unet_heads)
    if ours != heads:
        raise ValueError(
            f"{where} has {heads} attention heads and model.unet_heads is {ours}; "
            "set model.unet_heads to the same"
        )
    usual_values = _USUAL | {"norm_num_groups": config.model.unet_groups}
    for name, usual in usual_values.items():
        if diffusers_config.get(name, usual) != usual:
            raise ValueError(
                f"{where} has {name}={diffusers_config[name]!r}, which our UNet does "
                f"not do; it needs {usual!r}"
            )
