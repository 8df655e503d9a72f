"""What this machine can do at most: float32 matrix products and convolutions.

Owns the ceilings that achieved GFLOP/s are held against. The ceiling is the best of the
libraries tried, so a slow one cannot flatter the rest.
"""

import importlib.metadata
import os
import pathlib
import platform
import types

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from id2face_jax.benchmark import timing

_PACKAGES = ("jax", "flax", "numpy", "onnxruntime", "opencv-python")
_CHANNELS, _BATCH = 256, 8


def describe(torch: types.ModuleType | None) -> dict:
    """The machine, its load as the run begins, and the versions that were run."""
    packages = _PACKAGES + (("torch", "diffusers") if torch else ())
    return {
        "processor": _processor(),
        "platform": platform.machine(),
        "cores": os.cpu_count(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "load_average": os.getloadavg()[0],
        "torch_threads": torch.get_num_threads() if torch else None,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def _processor() -> str:
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or "unknown"


def ceilings(side: int, repeats: int, torch: types.ModuleType | None = None) -> dict:
    """GFLOP/s of each library, and the best, of a product and a 3x3 convolution.

    Args:
      side: of the square matrices, and eight times that of the convolution's maps.
      repeats: measured ones, in turns.
      torch: PyTorch, where it is compared with.
    """
    product = {"jax": _jax_product(side), "numpy": _numpy_product(side)}
    side_of_maps = side // 64
    maps, kernel = map(jnp.asarray, make_maps(side_of_maps))
    convolution = {"jax": lambda: convolve(maps, kernel).block_until_ready()}
    if torch:
        product["torch"] = _torch_product(torch, side)
        convolution["torch"] = _torch_convolution(torch, side_of_maps)
    return {
        "product": _rates(product, 2 * side**3, repeats),
        "convolution": _rates(convolution, convolution_flops(side_of_maps), repeats),
    }


def _rates(tasks: dict, flops: int, repeats: int) -> dict:
    seconds = timing.in_turns(tasks, repeats)
    # The quickest repetition: a ceiling is what the machine can do undisturbed.
    rates = {name: flops / min(times) / 1e9 for name, times in seconds.items()}
    return {"flops": flops, "gflops": rates, "ceiling": max(rates.values())}


def convolution_flops(side: int) -> int:
    """Operations of `convolve` on `make_maps(side)`."""
    return 2 * _BATCH * side**2 * 9 * _CHANNELS**2


def _matrices(side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(side, side)).astype(np.float32) for _ in range(2))


def _jax_product(side: int):
    x, y = map(jnp.asarray, _matrices(side))
    product = jax.jit(lambda x, y: jnp.matmul(x, y, precision="highest"))
    return lambda: product(x, y).block_until_ready()


def _numpy_product(side: int):
    x, y = _matrices(side)
    return lambda: x @ y


def _torch_product(torch, side: int):
    x, y = map(torch.from_numpy, _matrices(side))
    return lambda: torch.mm(x, y)


def make_maps(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps (b, h, w, c) and a kernel (3, 3, c, c)."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(_BATCH, side, side, _CHANNELS))
    kernel = rng.normal(size=(3, 3, _CHANNELS, _CHANNELS))
    return maps.astype(np.float32), kernel.astype(np.float32)


@jax.jit
def convolve(
    maps: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c c"]
) -> Float[Array, "b h w c"]:
    """A 3x3 convolution that keeps the shape."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        maps, kernel, (1, 1), "SAME", dimension_numbers=layout, precision="highest"
    )


def _torch_convolution(torch, side: int):
    maps, kernel = map(torch.from_numpy, make_maps(side))
    # The layout in which PyTorch's CPU convolutions are quickest.
    maps = maps.permute(0, 3, 1, 2)
    kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)

    def convolve():
        with torch.inference_mode():
            torch.nn.functional.conv2d(maps, kernel, padding=1)

    return convolve
