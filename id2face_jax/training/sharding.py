"""Where arrays live: the mesh, path rules to shardings, host batches to global ones.

Owns every mesh word of the project. One table in the config names leaves by their
path and says how each is laid out; `params`, `ema`, both Adam moments and `frozen` end
in the same path, so one rule covers them all (after big_vision's `infer_sharding`).
The table is strict both ways: a leaf without a rule and a rule without a leaf are
errors, because either is a typo that would otherwise cost memory silently.
"""

import functools
import re
from collections.abc import Callable, Sequence

import jax
import ml_collections
import numpy as np
from flax import linen as nn
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

AXES = ("data", "fsdp")
TACTICS = ("replicate", "fsdp")


def make_mesh(
    config: ml_collections.ConfigDict, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """The (data, fsdp) mesh of config.mesh over all devices; one size may be -1.

    devices: None is those of this run; `plan` gives those of a pod it does not have.
    Raises ValueError if the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    num = len(devices)
    sizes = [config.mesh[axis] for axis in AXES]
    if sizes.count(-1) == 1:
        known = -int(np.prod(sizes))
        sizes[sizes.index(-1)] = num // known if known > 0 else 0
    if min(sizes) < 1 or int(np.prod(sizes)) != num:
        raise ValueError(
            f"mesh is data={config.mesh.data}, fsdp={config.mesh.fsdp} and there are "
            f"{num} devices; the sizes must multiply to {num} (one may be -1: the rest)"
        )
    # Auto, since jax's default is now Explicit, where linen modules would have to
    # name an output sharding for their contractions.
    types = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(tuple(sizes), AXES, axis_types=types, devices=devices)


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The same values on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows split over all devices: fsdp shards parameters, and data as well."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def _path_name(path) -> str:
    keys = (getattr(k, "key", getattr(k, "name", getattr(k, "idx", k))) for k in path)
    return "/".join(str(key) for key in keys)


def _fsdp_spec(name: str, shape: Sequence[int], size: int) -> PartitionSpec:
    """The largest dimension that `size` divides is split; the last of equal ones."""
    dims = [i for i, dim in enumerate(shape) if dim % size == 0]
    if not dims:
        raise ValueError(
            f"sharding_rules: {name} has shape {tuple(shape)}, no dimension of which "
            f"is divisible by mesh.fsdp={size}; give it a 'replicate' rule before the "
            "'fsdp' one, or change mesh.fsdp"
        )
    axis = max(dims, key=lambda i: (shape[i], i))
    return PartitionSpec(*(AXES[1] if i == axis else None for i in range(len(shape))))


def tree_shardings(tree, mesh: Mesh | AbstractMesh, rules: Sequence[tuple[str, str]]):
    """A NamedSharding for every leaf, by the first rule whose regex finds its path.

    Args:
      tree: arrays or ShapeDtypeStructs.
      mesh: of `make_mesh`, or one of the same axes without devices.
      rules: (regex, "replicate" | "fsdp"). "fsdp" splits the largest dimension that
        the axis divides. Scalars (step, optimizer counts) need no rule.

    Returns:
      A tree of the same structure.

    Raises:
      ValueError: an unknown tactic, a leaf without a rule, a rule that no leaf needs,
        or an "fsdp" leaf that cannot be split.
    """
    for pattern, tactic in rules:
        if tactic not in TACTICS:
            raise ValueError(
                f"sharding_rules: {pattern!r} says {tactic!r}; use one of {TACTICS}"
            )
    used = set()

    def shard(path, leaf):
        name = _path_name(path)
        if leaf.ndim == 0:
            return replicated(mesh)
        for index, (pattern, tactic) in enumerate(rules):
            if re.search(pattern, name):
                used.add(index)
                if tactic == "replicate":
                    return replicated(mesh)
                spec = _fsdp_spec(name, leaf.shape, mesh.shape[AXES[1]])
                return NamedSharding(mesh, spec)
        raise ValueError(
            f"sharding_rules: no rule matches {name} of shape {tuple(leaf.shape)}; "
            "add one, for example ('" + name.rsplit("/", 1)[-1] + "$', 'replicate')"
        )

    shardings = jax.tree_util.tree_map_with_path(shard, tree)
    unused = [rule for index, rule in enumerate(rules) if index not in used]
    if unused:
        raise ValueError(
            f"sharding_rules: no leaf is left for {unused[0]}; it is misspelt, stands "
            "behind a rule that takes its leaves, or can go"
        )
    return shardings


def split_rows(function: Callable, mesh: Mesh) -> Callable:
    """`function`, with every layer's rows laid out as the batch's, whatever XLA thinks.

    Parameters and rows share the `fsdp` axis, so XLA has a choice at every layer:
    gather its kernel, as FSDP means it, or gather the activations and split the
    channels. Left alone it took the second at some layers, and then every chip saw
    the whole batch. Holding each layer's input and output to the batch's layout leaves
    it the first alone. Only `Dense` and `Conv` hold kernels that are split; an array
    whose rows the devices do not divide is left to XLA.

    The mesh is in force while `function` is traced: `models.attention` asks for it.
    """
    rows = batch_sharding(mesh)

    def keep(x):
        divides = x.ndim > 1 and x.shape[0] % mesh.size == 0
        return jax.lax.with_sharding_constraint(x, rows) if divides else x

    def layer(call, args, kwargs, context):
        if not isinstance(context.module, nn.Dense | nn.Conv):
            return call(*args, **kwargs)
        return keep(call(*map(keep, args), **kwargs))

    @functools.wraps(function)
    def with_rows(*args):
        here = jax.sharding.use_abstract_mesh(mesh.abstract_mesh)
        with nn.intercept_methods(layer), here:
            return function(*args)

    return with_rows


def check_batch(config: ml_collections.ConfigDict, mesh: Mesh) -> None:
    """Raises ValueError, before compiling, for a batch that the devices cannot split.

    Every micro-batch (batch_size / optim.accumulate pairs) must split evenly over
    all devices.
    """
    unit = mesh.size * config.optim.accumulate
    batch = config.data.batch_size
    if batch < 1 or batch % unit:
        below, above = batch // unit * unit, -(-max(batch, 1) // unit) * unit
        fix = f"{below} or {above}" if below > 0 else str(above)
        raise ValueError(
            f"data.batch_size is {batch}, not divisible by {mesh.size} devices x "
            f"optim.accumulate={config.optim.accumulate}; use {fix}"
        )


def local_rows(sharding: NamedSharding, num: int) -> Int[np.ndarray, "n"]:
    """Which of `num` rows this process's devices hold, ascending.

    Not always a block: a mesh follows the wires of a pod, and may take devices of
    several hosts in turns.
    """
    places = sharding.addressable_devices_indices_map((num,)).values()
    return np.unique(np.concatenate([np.arange(num)[place] for place in places]))


def put_batch(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict:
    """The global batch, of which `batch` holds this process's `local_rows`.

    One that was drawn on the devices is there already.
    """
    if all(isinstance(rows, jax.Array) for rows in batch.values()):
        return batch
    return {
        name: jax.make_array_from_process_local_data(sharding, rows)
        for name, rows in batch.items()
    }
