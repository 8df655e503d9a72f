"""Ours and PyTorch's on the same work, in turns, in one process, on the same threads.

Owns three comparisons. Two are of equal size and differ in design: our sampler and
train step against a diffusers UNet of as many parameters as our UNet has, at the same
latent resolution, steps and batch. Ours does more in the same time: it also encodes,
chooses an identity, decodes, and trains the other networks. The third is one network in
both frameworks: Stable Diffusion's layout with the same weights, whose outputs and
operation counts are checked before any time is taken.
"""

import functools
import os
import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from id2face_jax.benchmark import sampler, timing, torch_side, training
from id2face_jax.benchmark.sampler import Model
from id2face_jax.compiling import inference_options
from id2face_jax.convert import diffusers as convert
from id2face_jax.models import build
from id2face_jax.models.stable_diffusion.unet import StableUNet
from id2face_jax.plan import flops

# Stable Diffusion 1.5's UNet at a fifth of its width: 34 M parameters.
STABLE = {
    "dims": (64, 128, 256, 256),
    "attention_levels": (0, 1, 2),
    "depth": 2,
    "heads": 8,
    "groups": 32,
    "context": 256,
    "tokens": 77,
    "side": 32,
}
SAME_WORK = 0.05  # relative difference of counts that still counts as the same
SAME_OUTPUT = 1e-3  # relative to the largest value; float32 in another order


def ratio(seconds: dict[str, list[float]]) -> dict:
    """Medians of ours and PyTorch's, and how many times quicker ours is."""
    times = {name: timing.summary(values) for name, values in seconds.items()}
    return times | {"ratio": times["torch"]["median"] / times["ours"]["median"]}


def check_same(what: str, ours: int, theirs: int) -> None:
    """Raises ValueError if two counts differ by more than SAME_WORK."""
    if abs(ours / theirs - 1) > SAME_WORK:
        raise ValueError(
            f"{what}: ours is {ours:.4g} and PyTorch's {theirs:.4g}, more than "
            f"{SAME_WORK:.0%} apart; this is no comparison of the same work"
        )


def _latents(model: Model) -> tuple[int, int, int]:
    """(side, channels of the latent, channels that our UNet sees)."""
    config = model.config
    side = config.data.image_size // build.make_autoencoder(config).factor
    channels = config.autoencoder.latent_channels
    # z_t, z_m, the mask, and the identity template where there is one.
    return side, channels, channels * (3 if config.model.portrait else 2) + 1


def compare_samplers(
    model: Model, batches: tuple[int, ...], num_steps: int, repeats: int
) -> dict:
    """Our whole sampler against the equal UNet's DDIM loop, by batch."""
    side, channels, seen = _latents(model)
    unet = torch_side.equal_unet(model.num_unet_parameters, seen, channels, side)
    count = torch_side.count_parameters(unet)
    check_same("parameters of the UNet", model.num_unet_parameters, count)
    rows = []
    for batch in batches:
        theirs = torch_side.make_sampler(unet, batch, side, num_steps)
        ours = sampler.make_task(model, batch, num_steps)
        seconds = timing.in_turns({"ours": ours, "torch": theirs}, repeats)
        rows.append({"batch": batch, "steps": num_steps} | ratio(seconds))
    one = torch_side.make_sampler(unet, 1, side, num_steps)
    return {
        "rows": rows,
        "parameters": {"ours": model.num_unet_parameters, "torch": count},
        "gflop_per_face": {
            "ours": sampler.count_flops(model, num_steps) / 1e9,
            "torch": torch_side.count_flops(one) / 1e9,
        },
    }


def compare_training(model: Model, run: training.Run, examples: int, repeats: int):
    """Our whole train step against the equal UNet's, on as many examples.

    run: our step, of examples / 2 pairs.
    """
    side, channels, seen = _latents(model)
    unet = torch_side.equal_unet(model.num_unet_parameters, seen, channels, side)
    step = torch_side.make_train_step(unet, examples, side)
    seconds = timing.in_turns({"ours": run, "torch": step}, repeats)
    return {
        "examples": examples,
        "parameters": {
            "ours": model.num_unet_parameters,
            "torch": torch_side.count_parameters(unet),
        },
        "gflop_per_step": {
            "ours": run.flops / 1e9,
            "torch": torch_side.count_flops(step) / 1e9,
        },
    } | ratio(seconds)


def compare_identical(
    batches: tuple[int, ...], repeats: int, shape: dict = STABLE
) -> dict:
    """One pass of the same network, with the same weights, in both frameworks."""
    network = torch_side.stable_unet(shape)
    model, params = _ours(network, shape)
    apply = jax.jit(model.apply, compiler_options=inference_options())
    rows = []
    for batch in batches:
        inputs = _inputs(shape, batch)
        theirs = torch_side.make_forward(network, *inputs)
        ours = functools.partial(
            _forward, apply, params, [jnp.asarray(x) for x in inputs]
        )
        _check_outputs(np.asarray(ours()), theirs())
        seconds = timing.in_turns({"ours": ours, "torch": theirs}, repeats)
        rows.append({"batch": batch} | ratio(seconds))
    inputs = _inputs(shape, 1)
    operations = {
        "ours": flops.of_function(model.apply, {"params": params}, *inputs),
        "torch": torch_side.count_flops(torch_side.make_forward(network, *inputs)),
    }
    parameters = {
        "ours": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "torch": torch_side.count_parameters(network),
    }
    check_same("operations of the identical network", *operations.values())
    check_same("parameters of the identical network", *parameters.values())
    return {
        "rows": rows,
        "parameters": parameters,
        "gflop_per_pass": {k: value / 1e9 for k, value in operations.items()},
    }


def _ours(network, shape: dict) -> tuple[StableUNet, dict]:
    """The network in Flax, with the weights of PyTorch's by our converter."""
    levels = len(shape["dims"])
    model = StableUNet(
        shape["dims"],
        (shape["depth"],) * levels,
        (shape["heads"],) * levels,
        shape["attention_levels"],
        groups=shape["groups"],
    )
    latents, step, context = _inputs(shape, 1)
    known = np.concatenate([latents, latents[..., :1]], axis=-1)
    expected = jax.eval_shape(
        model.init, jax.random.key(0), latents, step, context, known
    )["params"]
    params = convert.convert_unet(
        torch_side.tensors_of(network), expected, "the network compared with"
    )
    return model, jax.device_put(params)


def _inputs(shape: dict, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy latents (b, h, h, 4), step numbers, tokens."""
    rng, side = np.random.default_rng(0), shape["side"]
    return (
        rng.normal(size=(batch, side, side, 4)).astype(np.float32),
        np.full(batch, 500.0, np.float32),
        rng.normal(size=(batch, shape["tokens"], shape["context"])).astype(np.float32),
    )


def _forward(apply: Callable, params, inputs) -> jax.Array:
    return apply({"params": params}, *inputs).block_until_ready()


def _check_outputs(ours: np.ndarray, theirs: np.ndarray) -> None:
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not error < SAME_OUTPUT:
        raise ValueError(
            f"the identical network gives other outputs in PyTorch: {error:.1e} of the "
            f"largest value apart, expected below {SAME_OUTPUT:.0e}"
        )


def open_torch(compare: str | None) -> types.ModuleType | None:
    """torch, with as many threads as there are cores, or None without --compare."""
    if compare is None:
        return None
    torch = torch_side.load()
    torch.set_num_threads(os.cpu_count() or 1)
    return torch
