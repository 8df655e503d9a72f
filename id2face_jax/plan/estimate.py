"""What a step, or a sampler's call, takes on chips that are not here.

Owns compiling the real program for them and turning what XLA says into memory, time and
utilisation. Two times are given and never mixed:

    XLA      the sum of its cost model's cycles over all operations and of what
             `kernels` knows of fused ones, or the time of all collectives at full link
             speed if that is larger: one hides the other
    roofline the largest of FLOPs / peak, bytes / HBM bandwidth and collective bytes /
             link bandwidth: nothing can be quicker

MFU is model FLOPs (of a step without recomputation) over what all chips' peak would do
in that time.
"""

import contextlib
import dataclasses
import math
import re
import time

import jax
import ml_collections
import numpy as np

from id2face_jax.data import pipeline
from id2face_jax.generation import serving
from id2face_jax.plan import chips, flops, hlo, inputs, kernels
from id2face_jax.training import programs, sharding

PROGRAMS = ("step", "sampler")
# Triton's products are tuned by running them. Where no GPU is, XLA takes tiles that do
# not fit some of ours, and gives up; cuBLAS' products are chosen when they run.
_OPTIONS = {"cuda": {"xla_gpu_enable_triton_gemm": False}}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One program on one topology. Bytes and seconds are of one chip and call.

    Attributes:
      program: one of PROGRAMS.
      topology, mesh: where; mesh as {"data": d, "fsdp": f}.
      batch: pairs of a step, or faces of a sampler's call.
      num_params: trainable.
      memory: bytes by class: params, optimizer, EMA, frozen, and as activations all
        that the program needs beside them, its batch and its code included.
      hbm_bytes: the chip's.
      fits: whether XLA could place it.
      model_flops: of a call on all chips, nothing recomputed.
      flops: as `model_flops`, with what is recomputed; of XLA's attention, whatever
        the program attends by.
      accessed_bytes: HBM traffic as XLA counts it; None where it does not.
      collectives: bytes by "kind over axes".
      bounds: roofline seconds by what bounds them: compute, memory, links.
      xla_seconds: XLA's estimate; None where it gives none (GPUs).
      kernel_seconds: the part of fused kernels in it, a lower bound, see `kernels`.
      num_unknown: operations that xla_seconds lacks, since XLA failed to estimate them,
        and kinds of kernels that `kernels` has no time for.
      hours: for the config's images, from xla_seconds or else the roofline; None for
        the sampler.
      compile_seconds: on this machine.
      effort: of the compilation, see `make_estimate`.
    """

    program: str
    topology: str
    mesh: dict[str, int]
    batch: int
    num_params: int
    memory: dict[str, float]
    hbm_bytes: float
    fits: bool
    model_flops: float
    flops: float
    accessed_bytes: float | None
    collectives: dict[str, float]
    bounds: dict[str, float]
    xla_seconds: float | None
    peak_flops: float
    hours: float | None
    compile_seconds: float
    kernel_seconds: float = 0.0
    num_unknown: int = 0
    effort: float = 0.0

    @property
    def num_chips(self) -> int:
        """Of the mesh."""
        return math.prod(self.mesh.values())

    @property
    def roofline_seconds(self) -> float:
        """The largest of the bounds."""
        return max(self.bounds.values(), default=0.0)

    @property
    def seconds(self) -> float:
        """XLA's estimate where there is one, else the roofline."""
        return self.roofline_seconds if self.xla_seconds is None else self.xla_seconds

    def mfu(self, seconds: float) -> float:
        """Model FLOPs utilisation, if a call took so long."""
        return self.model_flops / (self.num_chips * self.peak_flops * seconds)


def _shard_bytes(tree) -> float:
    """Bytes of one device's share of ShapeDtypeStructs with shardings."""
    return float(
        sum(
            math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
            for x in jax.tree.leaves(tree)
        )
    )


def state_bytes(layout: programs.Layout) -> dict[str, float]:
    """Bytes a chip of the training state, by class."""
    state = layout.state
    return {
        "params": _shard_bytes(state.params),
        "optimizer": _shard_bytes(state.opt_state),
        "EMA": _shard_bytes(state.ema),
        "frozen": _shard_bytes(state.frozen),
    }


def _trace(config, mesh, program: str):
    """(layout, memory of its arguments by class, Traced) of a program on a mesh."""
    layout = programs.make_layout(config, mesh, inputs.frozen_shapes(config))
    memory = state_bytes(layout)
    if program == "step":
        rows = sharding.batch_sharding(mesh)
        example = pipeline.first_batch(config, 1)
        batch = programs.batch_shapes(example, config.data.batch_size, rows)
        return layout, memory, programs.jit_step(layout).trace(layout.state, batch)
    state, rows = layout.state, sharding.batch_sharding(mesh)
    weights = {"model": state.ema, "autoencoder": state.frozen["autoencoder"]}
    *faces, angle = serving.sampler_shapes(config, mesh.size)
    faces = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for x in (*faces,)]
    steps = config.model.sample_steps
    sampler = serving.make_sampler(config, "embedding", steps)
    sampler = jax.jit(sharding.split_rows(sampler, mesh), out_shardings=rows)
    memory = {"EMA": memory["EMA"], "frozen": memory["frozen"]}
    return layout, memory, sampler.trace(weights, *faces, angle)


def _count_flops(config, mesh, program: str) -> tuple[float, float]:
    """FLOPs of a call on all chips: (with nothing recomputed, as it runs).

    Counted where XLA attends: a kernel's body is one step of many, on one chip.
    """
    plain = ml_collections.ConfigDict(config).copy_and_resolve_references()
    plain.model.attention = "xla"

    def count():
        return float(flops.count_flops(_trace(plain, mesh, program)[2].jaxpr.jaxpr))

    spent = count()
    if program != "step" or config.train.remat == "none":
        return spent, spent
    plain.train.remat = "none"
    return count(), spent


def flops_of_a_pair(config: ml_collections.ConfigDict) -> float:
    """Model FLOPs that training spends on one pair; traced here, compiled nowhere."""
    config = inputs.fit_config(config, num_chips=1, batch=1, fsdp=1)
    mesh = sharding.make_mesh(config, jax.devices()[:1])
    return _count_flops(config, mesh, "step")[0]


def _link_seconds(found, mesh, chip: chips.Chip) -> float:
    """Time of all collectives at full link speed, one after the other.

    An all-reduce is a reduce-scatter and an all-gather; in a ring of n each chip
    receives (n - 1) / n of the bytes.
    """
    total = 0.0
    for one in found:
        width = math.prod(mesh.shape[axis] for axis in one.axes)
        across = _crosses_hosts(one.axes, mesh) and chip.host_bandwidth
        bandwidth = chip.host_bandwidth if across else chip.link_bandwidth
        share = (width - 1) / width * (2 if one.kind == "all-reduce" else 1)
        total += one.count * one.num_bytes * share / bandwidth
    return total


def _crosses_hosts(axes, mesh) -> bool:
    """Whether chips that differ along `axes` alone are on different hosts."""
    index = tuple(slice(None) if name in axes else 0 for name in mesh.axis_names)
    group = np.atleast_1d(mesh.devices[index])
    return len({device.process_index for device in group.flat}) > 1


def _out_of_memory(error: Exception) -> float | None:
    """Bytes that a program wanted, from XLA's message that it does not fit."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return None
    used = re.search(r"Used ([\d.]+)([KMGT]?) of", text)
    used = used or re.search(r"\(([\d.]+)([KMGT]?)\) exceeds", text)
    units = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    return float(used[1]) * units[used[2]] if used else float("inf")


def make_estimate(
    config: ml_collections.ConfigDict,
    topology: chips.Topology,
    program: str = "step",
    batch: int | None = None,
    fsdp: int | None = None,
    effort: float = 0.0,
) -> Estimate:
    """Compiles a program for a topology and reads what XLA says of it.

    Args:
      config: of an experiment; see `inputs.fit_config` for what is changed.
      topology: of `chips.make_topology`.
      program: "step", the train step, or "sampler", one face a chip.
      batch, fsdp: as of `inputs.fit_config`.
      effort: XLA's `exec_time_optimization_effort`, -1 to 0, its own. Less is compiled
        sooner, by a multiple, to another program, slower and larger where that was
        looked at; XLA's estimate of its time may lack operations.

    Raises:
      ValueError: sizes that do not fit the chips; another effort. A program that does
        not fit their memory is no error, see Estimate.fits.
    """
    if not -1 <= effort <= 0:
        raise ValueError(f"--effort is {effort}; it goes from -1 to 0, XLA's own")
    wanted, num_chips = config.data.batch_size, len(topology.devices)
    config = inputs.fit_config(config, num_chips, batch, fsdp)
    mesh = sharding.make_mesh(config, topology.devices)
    sharding.check_batch(config, mesh)
    began = time.perf_counter()
    layout, memory, traced = _trace(config, mesh, program)
    model_flops, num_flops = _count_flops(config, mesh, program)
    used, measured = _compile(traced, mesh, topology.chip, effort)
    if measured["fits"]:
        measured["bounds"]["compute"] = num_flops / num_chips / topology.chip.flops
    estimate = Estimate(
        program=program,
        topology=topology.name,
        mesh=dict(mesh.shape),
        batch=config.data.batch_size if program == "step" else num_chips,
        num_params=sum(x.size for x in jax.tree.leaves(layout.state.params)),
        memory=memory | {"activations": used - sum(memory.values())},
        hbm_bytes=topology.chip.hbm_bytes,
        model_flops=model_flops,
        flops=num_flops,
        peak_flops=topology.chip.flops,
        hours=None,
        effort=effort,
        compile_seconds=time.perf_counter() - began,
        **measured,
    )
    if program != "step" or not estimate.fits:
        return estimate
    # The config's images, at the batch that was planned.
    num_steps = config.train.num_steps * wanted / config.data.batch_size
    return dataclasses.replace(estimate, hours=num_steps * estimate.seconds / 3600)


@contextlib.contextmanager
def _never_cached():
    """Keeps jax from caching what is compiled: only its chips could read it back."""
    name = "jax_persistent_cache_min_compile_time_secs"
    least = getattr(jax.config, name)
    jax.config.update(name, math.inf)
    try:
        yield
    finally:
        jax.config.update(name, least)


def _compile(traced, mesh, chip: chips.Chip, effort: float) -> tuple[float, dict]:
    """(bytes of HBM a chip, fields of Estimate); the least of them if it does not fit.

    A GPU's compiler places what the card could not hold, a TPU's refuses.
    """
    unknown = {"accessed_bytes": None, "xla_seconds": None}
    unknown |= {"fits": False, "collectives": {}, "bounds": {}}
    options = dict(_OPTIONS.get(chip.platform, {}))
    if effort:
        options["exec_time_optimization_effort"] = effort
    try:
        with _never_cached():
            compiled = traced.lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        used = _out_of_memory(error)
        if used is None:
            raise
        return used, unknown
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    # Donated arguments are the outputs' memory as well.
    used += memory.output_size_in_bytes - memory.alias_size_in_bytes
    used = float(used + memory.generated_code_size_in_bytes)
    if used > chip.hbm_bytes:
        return used, unknown
    return used, {"fits": True} | _measure(compiled, mesh, chip)


def _measure(compiled, mesh, chip: chips.Chip) -> dict:
    """What XLA says of a compiled program's traffic and time."""
    text = compiled.as_text()
    found = hlo.find_collectives(text, dict(mesh.shape))
    links = _link_seconds(found, mesh, chip)
    kinds = kernels.find(text)
    kernel_seconds, num_missing = kernels.seconds(kinds, chip)
    accessed = (compiled.cost_analysis() or {}).get("bytes accessed")
    bounds = {"links": links}
    if accessed:
        accessed += kernels.reread_bytes(kinds)
        bounds["memory"] = accessed / chip.hbm_bandwidth
    cycles, num_unknown = hlo.sum_cycles(text)
    given = kernel_seconds + (cycles / chip.clock if chip.clock else 0.0)
    return {
        "accessed_bytes": accessed,
        "collectives": {
            f"{kind} over {axes}": float(num)
            for (kind, axes), num in hlo.sum_bytes(found).items()
        },
        "bounds": bounds,
        "xla_seconds": max(given, links) if chip.clock else None,
        "kernel_seconds": kernel_seconds,
        "num_unknown": num_unknown + num_missing,
    }
