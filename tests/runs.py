"""Tiny runs for tests of the training spine: configs, meshes, steps, processes."""

import os
import sys

import jax
import ml_collections
import numpy as np
from jax.sharding import AxisType

from configs import smoke
from id2face_jax.data import pipeline
from id2face_jax.training import programs, sharding
from tests import quick

# Fields of config.model. One level has every part, and is a third less to compile.
ONE_LEVEL = {"unet_dims": (16,), "unet_depths": (1,), "unet_attention_from": 0}


def tiny_config(task: str = "autoencoder", **changes) -> ml_collections.ConfigDict:
    """The smoke config of a task, with dotted fields changed ("__" for the dot).

    The autoencoder is the default, for it compiles in a fraction of the time.
    """
    config = smoke.get_config()
    config.task = task
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        (config[group] if group else config)[field] = value
    return config


def make_mesh(data: int, fsdp: int) -> jax.sharding.Mesh:
    """A mesh of the first data * fsdp devices."""
    devices = jax.devices()[: data * fsdp]
    types = (AxisType.Auto,) * 2
    return jax.make_mesh((data, fsdp), sharding.AXES, axis_types=types, devices=devices)


def environment(num_devices: int = 1) -> dict[str, str]:
    """Of a process of its own, with so many CPU devices, that compiles quickly.

    launch/local.sh reads PYTHON.
    """
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(num_devices),
        "XLA_FLAGS": quick.FLAGS,
        "PYTHON": sys.executable,
    }


def run_steps(config, mesh, num_steps: int, frozen=None, start=None):
    """(state, metrics of each step) after `num_steps`, without a loop.

    frozen, start: as for `programs.make_layout`; without them, from scratch.
    """
    frozen = frozen or {}
    iterator = pipeline.make_train_iterator(config)
    with jax.set_mesh(mesh):
        layout = programs.make_layout(config, mesh, frozen, start)
        step = programs.jit_step(layout)
        state = layout.init(jax.random.key(config.seed), frozen, start)
        rows, metrics = sharding.batch_sharding(mesh), []
        for _ in range(num_steps):
            state, values = step(state, sharding.put_batch(next(iterator), rows))
            metrics.append(jax.device_get(values))
    return jax.device_get(state), metrics


def assert_same(one, other) -> None:
    """Bitwise equality of two trees."""
    jax.tree.map(
        np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other)
    )


def assert_close(one, other, atol: float) -> None:
    """Equality of two trees up to `atol`."""
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol),
        jax.device_get(one),
        jax.device_get(other),
    )
