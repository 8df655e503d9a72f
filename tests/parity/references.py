"""The PyTorch networks that ours must equal, with random weights.

diffusers gives Stable Diffusion's; insightface's IResNet is written out here, since its
package is not on PyPI. Random weights include random statistics of normalisations, or
a mistake in them would not show.
"""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, VQModel
from torch import nn

# The sizes of configs/smoke_full_scale.py, and Stable Diffusion 1.5's.
AUTOENCODERS = {
    "tiny": {"dims": (8, 8, 16, 16), "depth": 1, "groups": 4, "side": 32},
    "sd": {"dims": (128, 256, 512, 512), "depth": 2, "groups": 32, "side": 256},
}
UNETS = {
    "tiny": {
        "dims": (8, 16),
        "attends": (True, False),
        "depth": 1,
        "groups": 4,
        "heads": 2,
        "context": 16,
        "side": 8,
    },
    "sd": {
        "dims": (320, 640, 1280, 1280),
        "attends": (True, True, True, False),
        "depth": 2,
        "groups": 32,
        "heads": 8,
        "context": 768,
        "side": 32,
    },
}


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """`network` at use, with every weight and statistic moved off its default."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1.0 + 0.5 * torch.tanh(noise))
            elif value.ndim == 1:
                value.add_(0.1 * noise)
    return network.eval().requires_grad_(False)


def autoencoder_kl(size: dict) -> AutoencoderKL:
    """diffusers' AutoencoderKL of a size of AUTOENCODERS."""
    levels = len(size["dims"])
    torch.manual_seed(0)
    network = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=size["dims"],
        layers_per_block=size["depth"],
        latent_channels=4,
        norm_num_groups=size["groups"],
    )
    return randomise(network)


def vq_model() -> VQModel:
    """diffusers' VQModel: two levels, the lower of which attends."""
    torch.manual_seed(0)
    network = VQModel(
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=3,
        num_vq_embeddings=32,
        norm_num_groups=4,
    )
    return randomise(network)


def unet(size: dict, **changes) -> UNet2DConditionModel:
    """diffusers' UNet2DConditionModel of a size of UNETS."""
    down = tuple(
        "CrossAttnDownBlock2D" if attends else "DownBlock2D"
        for attends in size["attends"]
    )
    up = tuple(
        "CrossAttnUpBlock2D" if attends else "UpBlock2D"
        for attends in reversed(size["attends"])
    )
    torch.manual_seed(0)
    arguments = {
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": size["dims"],
        "layers_per_block": size["depth"],
        "cross_attention_dim": size["context"],
        "attention_head_dim": size["heads"],
        "norm_num_groups": size["groups"],
    }
    return randomise(UNet2DConditionModel(**(arguments | changes)))


class _IBasicBlock(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inplanes)
        self.conv1 = nn.Conv2d(inplanes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.prelu = nn.PReLU(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes, 1, stride, bias=False),
                nn.BatchNorm2d(planes),
            )

    def forward(self, x):
        h = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        h = self.bn3(self.conv2(h))
        return h + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """insightface's IResNet, with its names."""

    def __init__(self, dims: tuple[int, ...], depths: tuple[int, ...], dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, dims[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dims[0])
        self.prelu = nn.PReLU(dims[0])
        planes = dims[0]
        for stage, (width, depth) in enumerate(zip(dims, depths, strict=True)):
            blocks = []
            for i in range(depth):
                blocks.append(_IBasicBlock(planes, width, 2 if i == 0 else 1))
                planes = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(planes)
        self.fc = nn.Linear(planes * 7 * 7, dim)
        self.features = nn.BatchNorm1d(dim)
        nn.init.constant_(self.features.weight, 1.0)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


def iresnet(dims, depths, dim) -> IResNet:
    """An IResNet with random weights and statistics."""
    torch.manual_seed(0)
    return randomise(IResNet(dims, depths, dim))
