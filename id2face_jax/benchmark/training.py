"""The train step's speed, and how long it waits for data.

Owns a run without files: the step of `id2face train` on one device, from an export's
config, with the loop's own iterator. An example is one photo recomposed; a pair is two.
"""

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence

import jax
import ml_collections
import numpy as np
from jax.sharding import AxisType

from id2face_jax.benchmark import timing
from id2face_jax.benchmark.sampler import Model
from id2face_jax.data import pipeline
from id2face_jax.faces import whitening
from id2face_jax.generation import exports
from id2face_jax.plan import flops
from id2face_jax.training import metrics, programs, sharding, steps

NUM_DEVICES = 4


@dataclasses.dataclass
class Run:
    """A compiled train step, its state and a batch that stands still."""

    step: Callable
    state: object
    batch: dict
    rows: jax.sharding.Sharding
    flops: int

    def __call__(self, batch: dict | None = None) -> None:
        """One step, to its end."""
        self.state, values = self.step(
            self.state, self.batch if batch is None else batch
        )
        jax.block_until_ready(values)


def make_config(
    model: Model, pairs: int, records: str | None, identity_loss: bool = True
) -> ml_collections.FrozenConfigDict:
    """The export's config for a step of `pairs`, on one device.

    records: folder, or None for made-up people. identity_loss: False leaves the frozen
    recognizer out.
    """
    config = ml_collections.ConfigDict(model.config.to_dict())
    config.data.records = records or pipeline.SYNTHETIC
    config.data.batch_size = pairs
    config.train.init_from = ""
    config.mesh.data, config.mesh.fsdp = -1, 1
    # Few pairs of a quick run must still divide into groups of each kind.
    config.loss.deployed_every = every = math.gcd(pairs, config.loss.deployed_every)
    returned = math.gcd(pairs, config.loss.returned_every)
    # A pair is one or the other.
    config.loss.returned_every = 0 if every == 1 or returned % every else returned
    if not identity_loss:
        config.loss.asked_identity = config.loss.source_identity = 0.0
    return ml_collections.FrozenConfigDict(config)


def make_run(
    config: ml_collections.FrozenConfigDict, model: Model, num_devices: int = 1
) -> Run:
    """The step compiled for the first `num_devices`, with a fresh state."""
    types = (AxisType.Auto,) * len(sharding.AXES)
    devices = jax.devices()[:num_devices]
    mesh = jax.make_mesh(
        (num_devices, 1), sharding.AXES, axis_types=types, devices=devices
    )
    frozen = {"autoencoder": model.weights["autoencoder"]}
    if steps.needs_recognizer(config):
        frozen["recognizer"] = whitening.frozen_recognizer()
    batch = pipeline.first_batch(config, config.data.batch_size)
    with jax.set_mesh(mesh):
        layout = programs.make_layout(config, mesh, frozen)
        rows = sharding.batch_sharding(mesh)
        step = programs.lower_step(config, layout, batch).compile()
        state = layout.init(jax.random.key(config.seed), frozen, None)
        batch = sharding.put_batch(batch, rows)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
        operations = flops.of_function(layout.task.train_step, layout.state, shapes)
    return Run(step, state, batch, rows, operations)


def measure(run: Run, config, num_steps: int, ceiling: float) -> dict:
    """The speed of `num_steps` steps on fresh batches, and the share spent waiting.

    ceiling: GFLOP/s of the machine's matrix products.
    """
    iterator = pipeline.make_train_iterator(config)
    run()
    run(sharding.put_batch(next(iterator), run.rows))  # the readers have started
    timer, seconds = metrics.Timer(), []
    for _ in range(num_steps):
        start = time.perf_counter()
        with timer("data"):
            batch = sharding.put_batch(next(iterator), run.rows)
        run(batch)
        seconds.append(time.perf_counter() - start)
    _, shares = timer.report()
    time_of_step = timing.summary(seconds)
    rate = run.flops / time_of_step["median"] / 1e9
    examples = 2 * config.data.batch_size
    return {
        "records": config.data.records,
        "examples": examples,
        "seconds": time_of_step,
        "examples_per_s": examples / time_of_step["median"],
        "gflop_per_step": run.flops / 1e9,
        "gflops": rate,
        "share_of_ceiling": rate / ceiling,
        "wait_share": shares["data"],
    }


def across_devices(checkpoint: str | None, pairs: int, repeats: int) -> dict:
    """The step on one and on NUM_DEVICES host devices of the same cores, in turns.

    In a child, since the number of devices is fixed when jax starts. Without the
    identity loss, whose compilation would take longer than the measurement.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    name = "--xla_force_host_platform_device_count"
    flags = [flag for flag in flags if not flag.startswith(name)]
    flags.append(f"{name}={NUM_DEVICES}")
    command = [sys.executable, "-m", "id2face_jax.benchmark.training"]
    command += [str(pairs), str(repeats)] + ([checkpoint] if checkpoint else [])
    child = timing.run_child(command, XLA_FLAGS=" ".join(flags), JAX_PLATFORMS="cpu")
    return json.loads(child.output.splitlines()[-1]) | {"peak_bytes": child.peak_bytes}


def main(argv: Sequence[str]) -> None:
    """Prints the times of both meshes as JSON; argv: pairs, repeats, [checkpoint]."""
    from id2face_jax.anonymize.pipeline import generator

    generator.use_compilation_cache()
    pairs, repeats, *path = argv
    model = Model(*exports.load_weights(path[0] if path else None))
    config = make_config(model, int(pairs), None, identity_loss=False)
    runs = {str(n): make_run(config, model, n) for n in (1, NUM_DEVICES)}
    seconds = timing.in_turns(runs, int(repeats))
    one, many = (float(np.median(times)) for times in seconds.values())
    times = {name: timing.summary(values) for name, values in seconds.items()}
    print(json.dumps({"devices": times, "kept": one / many, "pairs": int(pairs)}))


if __name__ == "__main__":
    main(sys.argv[1:])
