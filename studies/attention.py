"""What fused attention is worth a layer: .venv/bin/python -m studies.attention

Compiles the attentions of the full-scale configs by themselves, by XLA and by the
kernel, with the effort of docs/scaling's plans, for the rows that a chip has there, and
prints a line each: seconds by XLA's estimate and `plan.kernels`, and temporary memory.
Beside a whole plan it is quick; what XLA fuses across a layer's border it does not see.
Needs the extra `plan`.
"""

import os
import sys

import jax
import jax.numpy as jnp

from configs import ffhq512
from id2face_jax.models import attention
from id2face_jax.models.unet import REMAT_POLICIES
from id2face_jax.plan import chips, hlo, inputs, kernels
from id2face_jax.training import sharding
from studies.scaling import EFFORT

TOPOLOGIES = {"v5p": "v5p:2x2x1", "v5e": "v5e:2x2"}
# (experiment, kind of chip) of a plan with the config's batch -> rows a chip.
ROWS = {
    ("ffhq512", "v5p"): 16,
    ("ffhq512", "v5e"): 4,
    ("celebahq256", "v5p"): 8,
    ("celebahq256", "v5e"): 2,
}
# Positions, heads, channels of a head, how many a step runs; and whether it trains.
LAYERS = {
    "ffhq512": (
        (4096, 8, 40, 5, True),
        (1024, 8, 80, 5, True),
        (4096, 1, 512, 2, False),
    ),
    "celebahq256": ((1024, 8, 40, 5, True), (1024, 1, 512, 2, False)),
}


def measure(topology: chips.Topology, shape, kernel: str, trains: bool):
    """(seconds, bytes of temporaries) of one layer on a chip.

    shape: rows of a chip, positions, heads, channels.
    """
    config = inputs.fit_config(ffhq512.get_config(), len(topology.devices))
    mesh = sharding.make_mesh(config, topology.devices)
    x = jax.ShapeDtypeStruct(
        (shape[0] * mesh.size, *shape[1:]),
        jnp.bfloat16,
        sharding=sharding.batch_sharding(mesh),
    )

    def layer(*arrays):
        return attention.attend(*arrays, kernel)

    def trained(q, k, v, weights):
        layer_again = jax.checkpoint(layer, policy=REMAT_POLICIES["full"])

        def loss(*a):
            return (layer_again(*a) * weights).sum()

        return jax.grad(loss, (0, 1, 2))(q, k, v)

    program = sharding.split_rows(trained if trains else layer, mesh)
    lowered = jax.jit(program).lower(*[x] * (4 if trains else 3))
    options = {"exec_time_optimization_effort": EFFORT}
    compiled = lowered.compile(compiler_options=options)
    text, chip = compiled.as_text(), topology.chip
    cycles, unknown = hlo.sum_cycles(text)
    fused, missing = kernels.seconds(kernels.find(text), chip)
    if unknown or missing:
        print(f"{unknown + missing} operations without a time", file=sys.stderr)
    memory = compiled.memory_analysis()
    return cycles / chip.clock + fused, memory.temp_size_in_bytes


def main() -> None:
    """Prints a table a plan."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    for (name, kind), rows in ROWS.items():
        topology, saved = chips.make_topology(TOPOLOGIES[kind]), 0.0
        for *shape, times, trains in LAYERS[name]:
            found = [
                measure(topology, (rows, *shape), kernel, trains)
                for kernel in ("xla", "auto")
            ]
            (before, large), (after, small) = found
            saved += times * (before - after)
            print(
                f"{name} {kind} {rows} x {shape}, {times} times: "
                f"{1e3 * before:.2f} ms, {large / 1e9:.2f} GB -> "
                f"{1e3 * after:.2f} ms, {small / 1e9:.2f} GB",
                flush=True,
            )
        print(f"{name} {kind}: a step is {saved:.3f} s shorter", flush=True)


if __name__ == "__main__":
    main()
