"""Weight files of other projects, made with numpy: nothing of theirs is installed.

`layouts.json` lists names and shapes of tiny diffusers networks, as diffusers itself
prints them; tests/parity holds it against the real ones.
"""

import json
import pathlib
import re

import numpy as np

LAYOUTS = json.loads((pathlib.Path(__file__).parent / "layouts.json").read_text())


def draw(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 tensors of a diffusers network of `LAYOUTS`."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in LAYOUTS[kind].items()
    }


def with_old_attention(tensors: dict) -> dict:
    """The names that diffusers gave the autoencoder's attention before 0.18."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name):
        for new, before in old.items():
            name = re.sub(
                rf"(mid_block\.attentions\.0\.){new}\.", rf"\1{before}.", name
            )
        return name

    return {rename(name): value for name, value in tensors.items()}


def with_compvis_names(tensors: dict, levels: int) -> dict:
    """The names and shapes that CompVis' ldm gives the same autoencoder."""

    def rename(name):
        side, _, rest = name.partition(".")
        if side not in ("encoder", "decoder"):
            return name
        rest = re.sub(
            r"^down_blocks\.(\d+)\.(resnets|attentions|downsamplers\.0)",
            lambda m: f"down.{m[1]}.{_COMPVIS[m[2]]}",
            rest,
        )
        rest = re.sub(
            r"^up_blocks\.(\d+)\.(resnets|attentions|upsamplers\.0)",
            lambda m: f"up.{levels - 1 - int(m[1])}.{_COMPVIS[m[2]]}",
            rest,
        )
        rest = re.sub(r"^mid_block\.resnets\.0", "mid.block_1", rest)
        rest = re.sub(r"^mid_block\.resnets\.1", "mid.block_2", rest)
        rest = re.sub(r"^mid_block\.attentions\.0", "mid.attn_1", rest)
        rest = rest.replace("conv_shortcut", "nin_shortcut")
        rest = rest.replace("conv_norm_out", "norm_out")
        rest = rest.replace("group_norm", "norm").replace("to_out.0", "proj_out")
        rest = re.sub(r"to_([qkv])", r"\1", rest)
        return f"{side}.{rest}"

    def reshape(name, value):
        is_projection = re.search(r"\.to_(q|k|v|out\.0)\.weight$", name)
        return value[:, :, None, None] if is_projection else value

    return {rename(name): reshape(name, value) for name, value in tensors.items()}


_COMPVIS = {
    "resnets": "block",
    "attentions": "attn",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
}


def draw_iresnet(dims=(4, 6, 8, 8), depths=(1, 2, 1, 1), dim=5) -> dict:
    """Random tensors with the names of insightface's backbone.pth."""
    rng = np.random.default_rng(1)
    tensors = {}

    def conv(name, out, into, kernel=3):
        spread = (into * kernel * kernel) ** -0.5
        tensors[f"{name}.weight"] = rng.normal(0, spread, (out, into, kernel, kernel))

    def norm(name, width):
        tensors[f"{name}.weight"] = rng.normal(1, 0.2, width)
        tensors[f"{name}.bias"] = rng.normal(0, 0.2, width)
        tensors[f"{name}.running_mean"] = rng.normal(0, 0.2, width)
        tensors[f"{name}.running_var"] = rng.uniform(0.5, 2, width)
        tensors[f"{name}.num_batches_tracked"] = np.array(7)

    conv("conv1", dims[0], 3)
    norm("bn1", dims[0])
    tensors["prelu.weight"] = rng.uniform(0, 0.5, dims[0])
    into = dims[0]
    for stage, (width, depth) in enumerate(zip(dims, depths, strict=True)):
        for i in range(depth):
            name = f"layer{stage + 1}.{i}"
            norm(f"{name}.bn1", into)
            conv(f"{name}.conv1", width, into)
            norm(f"{name}.bn2", width)
            tensors[f"{name}.prelu.weight"] = rng.uniform(0, 0.5, width)
            conv(f"{name}.conv2", width, width)
            norm(f"{name}.bn3", width)
            if i == 0:
                conv(f"{name}.downsample.0", width, into, 1)
                norm(f"{name}.downsample.1", width)
            into = width
    norm("bn2", into)
    tensors["fc.weight"] = rng.normal(0, 0.05, (dim, into * 49))
    tensors["fc.bias"] = rng.normal(0, 0.2, dim)
    norm("features", dim)
    is_count = "num_batches_tracked"
    return {
        k: v if k.endswith(is_count) else v.astype(np.float32)
        for k, v in tensors.items()
    }
