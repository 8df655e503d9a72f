"""PyTorch's side of the comparison: diffusers' networks, sampler and train step.

The only place that imports torch, and only when it is asked to. torch is no dependency
of ours; `make parity` builds an environment that has both.
"""

import types
import warnings
from collections.abc import Callable

import numpy as np

_FIX = (
    "--compare diffusers needs {}, which is not installed here; run `make parity` "
    "once, then `.venv-parity/bin/python -m id2face_jax.cli benchmark --compare "
    "diffusers`"
)


def load() -> types.ModuleType:
    """The module torch. Raises ValueError, with the fix, without it or diffusers."""
    with warnings.catch_warnings(action="ignore"):
        try:
            import diffusers  # noqa: F401
            import torch
        except ImportError as error:
            raise ValueError(_FIX.format(error.name or "torch")) from error
    return torch


def count_parameters(network) -> int:
    """Of a torch module."""
    return sum(p.numel() for p in network.parameters())


def count_flops(call: Callable[[], object]) -> int:
    """Operations of matrix products and convolutions, two a multiplication."""
    from torch.nn import attention
    from torch.utils.flop_counter import FlopCounterMode

    # The counter does not know the CPU's fused attention; the plain one is products.
    plain = attention.sdpa_kernel(attention.SDPBackend.MATH)
    with plain, FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def equal_unet(num_parameters: int, channels_in: int, channels_out: int, side: int):
    """diffusers' UNet2DModel of about as many parameters: three levels, two attend.

    Widths are as ours (1 : 2 : 3). Raises ValueError if none is within 5 %.
    """
    import torch
    from diffusers import UNet2DModel

    def make(width: int):
        return UNet2DModel(
            sample_size=side,
            in_channels=channels_in,
            out_channels=channels_out,
            layers_per_block=2,
            block_out_channels=(width, 2 * width, 3 * width),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            attention_head_dim=width,
        )

    def miss(width: int) -> float:
        with torch.device("meta"):
            return abs(count_parameters(make(width)) / num_parameters - 1)

    # The count grows with the square of the width.
    with torch.device("meta"):
        known = count_parameters(make(64))
    guess = max(4, round(64 * (num_parameters / known) ** 0.5 / 4) * 4)
    best = min((max(4, guess - 4), guess, guess + 4), key=miss)
    if miss(best) > 0.05:
        raise ValueError(
            f"no diffusers UNet has {num_parameters} parameters: the nearest width, "
            f"{best}, is {100 * miss(best):.0f} % off; compare a larger model"
        )
    torch.manual_seed(0)
    return make(best)


def make_sampler(unet, batch: int, side: int, num_steps: int) -> Callable[[], object]:
    """One DDIM run of `num_steps` with what the UNet knows standing still."""
    import torch
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False
    )
    channels = unet.config.out_channels
    known = torch.randn(batch, unet.config.in_channels - channels, side, side)
    noise = torch.randn(batch, channels, side, side)
    unet.eval()

    def sample():
        scheduler.set_timesteps(num_steps)
        x = noise
        with torch.inference_mode():
            for t in scheduler.timesteps:
                out = unet(torch.cat([x, known], dim=1), t).sample
                x = scheduler.step(out, t, x).prev_sample
        return x

    return sample


def make_train_step(unet, batch: int, side: int) -> Callable[[], object]:
    """Noise, prediction, squared error, clipping, AdamW: diffusers' own example."""
    import torch
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=0.01)
    channels = unet.config.out_channels
    known = torch.randn(batch, unet.config.in_channels - channels, side, side)
    clean = torch.randn(batch, channels, side, side)
    unet.train()

    def step():
        noise = torch.randn_like(clean)
        t = torch.randint(0, 1000, (batch,))
        noisy = scheduler.add_noise(clean, noise, t)
        out = unet(torch.cat([noisy, known], dim=1), t).sample
        loss = torch.nn.functional.mse_loss(out, clean)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def stable_unet(shape: dict):
    """diffusers' UNet2DConditionModel of Stable Diffusion's layout, random weights."""
    import torch
    from diffusers import UNet2DConditionModel

    attends = [
        level in shape["attention_levels"] for level in range(len(shape["dims"]))
    ]
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        down_block_types=tuple(
            "CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends
        ),
        up_block_types=tuple(
            "CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)
        ),
        block_out_channels=shape["dims"],
        layers_per_block=shape["depth"],
        cross_attention_dim=shape["context"],
        attention_head_dim=shape["heads"],
        norm_num_groups=shape["groups"],
    )
    return network.eval().requires_grad_(False)


def tensors_of(network) -> dict[str, np.ndarray]:
    """The network's weights by name, as a checkpoint file holds them."""
    return {name: value.numpy() for name, value in network.state_dict().items()}


def make_forward(network, latents, step, context) -> Callable[[], np.ndarray]:
    """One pass of a UNet2DConditionModel; arguments in our layout, result too."""
    import torch

    x = torch.from_numpy(np.ascontiguousarray(latents.transpose(0, 3, 1, 2)))
    step, context = torch.from_numpy(step), torch.from_numpy(context)

    def forward():
        with torch.inference_mode():
            out = network(x, step, context).sample
        return out.numpy().transpose(0, 2, 3, 1)

    return forward
