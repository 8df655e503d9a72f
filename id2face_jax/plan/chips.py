"""What a chip can do, and a named topology's compile-only devices.

Owns the table of published facts and the way from "v5p:4x4x4" or "h100:2x8" to devices
that XLA compiles for but nobody has. TPUs need libtpu (extra `plan`), GPUs the CUDA
build of jax (extra `plan-gpu`); neither needs the accelerator.

Sources of the numbers: Google Cloud's TPU pages for peak, HBM and its bandwidth; the
links' one-way bandwidth from "How to Scale Your Model" (Austin et al. 2025), chapter
2; for the H100, NVIDIA's data sheet of the SXM card, 900 GB/s of NVLink both ways
together, and one 400 Gb/s network card a GPU.
"""

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Sequence

import jax

from id2face_jax import extras

H100_TARGET = pathlib.Path(__file__).parent / "h100_target.txtpb"


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published limits of one chip.

    Attributes:
      kind: its key in CHIPS.
      platform: "tpu" or "cuda".
      flops: bfloat16 matrix operations a second.
      hbm_bytes: memory that a program may use.
      hbm_bandwidth: bytes a second.
      link_bandwidth: bytes a second into the chip, over all its links.
      host_bandwidth: the same from chips of another host; 0: links are all the same.
      clock: cycles a second of the cost model's unit; 0 where XLA tells none.
      cores: that split the rows of a kernel.
    """

    kind: str
    platform: str
    flops: float
    hbm_bytes: float
    hbm_bandwidth: float
    link_bandwidth: float
    host_bandwidth: float
    clock: float
    cores: int = 1


_GIB = 2.0**30
# Usable HBM is what libtpu's refusal of a program that is too large names. Clocks
# follow from the peak: 8 (v4, v5p), 4 (v5e) arrays of 128 x 128, or 4 of 256 x 256.
CHIPS = {
    "v4": Chip("v4", "tpu", 275e12, 30.75 * _GIB, 1.228e12, 6 * 45e9, 0.0, 1.05e9, 2),
    "v5e": Chip("v5e", "tpu", 197e12, 15.75 * _GIB, 0.819e12, 4 * 45e9, 0.0, 1.5e9),
    "v5p": Chip("v5p", "tpu", 459e12, 95.74 * _GIB, 2.765e12, 6 * 90e9, 0.0, 1.75e9, 2),
    "v6e": Chip("v6e", "tpu", 918e12, 31.25 * _GIB, 1.64e12, 4 * 90e9, 0.0, 1.75e9),
    "h100": Chip("h100", "cuda", 989e12, 79.1 * _GIB, 3.352e12, 450e9, 50e9, 0.0),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices of a machine that is not here.

    Attributes:
      name: as the user wrote it.
      chip: the facts of one device.
      devices: compile-only jax devices.
    """

    name: str
    chip: Chip
    devices: Sequence[jax.Device]


def parse_topology(name: str) -> tuple[str, tuple[int, ...]]:
    """(kind of chip, sizes) of a name such as v5p:4x4x4, h100:8 or h100:2x8.

    A GPU's sizes are always (hosts, GPUs of each). Raises ValueError for another form.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", name)
    sizes = [int(x) for x in match[2].split("x")] if match else []
    if not match or match[1] not in CHIPS or min(sizes) < 1:
        raise ValueError(
            f"topology is {name!r}; use KIND:SIZES, such as v5e:16x16, v5p:4x4x4, "
            f"h100:8 or h100:2x8. Kinds: {', '.join(CHIPS)}"
        )
    if CHIPS[match[1]].platform == "cuda":
        sizes = [1, *sizes] if len(sizes) == 1 else sizes
        if len(sizes) != 2:
            raise ValueError(f"topology is {name!r}; GPUs are HOSTSxGPUS, as h100:2x8")
    return match[1], tuple(sizes)


def make_topology(name: str) -> Topology:
    """The topology of a name, see `parse_topology`.

    Raises ValueError if the name is not one, if the pod does not exist in that shape,
    or if the compiler for it is not installed.
    """
    kind, sizes = parse_topology(name)
    chip = CHIPS[kind]
    devices = (_tpu_devices if chip.platform == "tpu" else _gpu_devices)(name, sizes)
    if len(devices) != math.prod(sizes):
        raise ValueError(f"{name} gave {len(devices)} devices")
    return Topology(name, chip, devices)


def _tpu_devices(name: str, sizes: Sequence[int]) -> Sequence[jax.Device]:
    from jax.experimental import topologies

    # libtpu would ask a metadata server that exists on Google's machines alone, for
    # what these say; and it takes a lock, though no chip is touched.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        import libtpu  # noqa: F401  # the compiler; jax finds it by itself
    except ImportError as error:
        raise ValueError(
            f"planning for {name} needs libtpu; run: {extras.pip_line('plan')}"
        ) from error
    # A v4 chip's two cores are one device, as in training, only if asked for.
    options = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    try:
        return topologies.get_topology_desc(name, "tpu", **options).devices
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"libtpu does not know {name}: {error}") from error


def _gpu_devices(name: str, sizes: Sequence[int]) -> Sequence[jax.Device]:
    from jax.experimental import topologies

    # There is no GPU whose driver could be checked.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    shape = "x".join(str(size) for size in (1, *sizes))
    try:
        return topologies.get_topology_desc(
            "", "cuda", topology=shape, target_config=H100_TARGET.read_text()
        ).devices
    except (jax.errors.JaxRuntimeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"planning for {name} needs the CUDA build of jax; run: "
            f"{extras.pip_line('plan-gpu')}, and set JAX_PLATFORMS=cpu,cuda ({error})"
        ) from error
