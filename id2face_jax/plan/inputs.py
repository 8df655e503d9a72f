"""A config made ready to be compiled for another machine, without its files.

Owns what stands in for records and weights that are not here: shapes.
"""

import math

import jax
import jax.numpy as jnp
import ml_collections

from id2face_jax.data import pipeline
from id2face_jax.faces import whitening
from id2face_jax.models import build
from id2face_jax.training import steps


def fit_config(
    config: ml_collections.ConfigDict,
    num_chips: int,
    batch: int | None = None,
    fsdp: int | None = None,
) -> ml_collections.ConfigDict:
    """A copy for `num_chips`: the same networks, batch and mesh as they fit there.

    Args:
      config: of an experiment.
      num_chips: all of them; those that fsdp leaves go to data.
      batch: pairs a step; None is the config's.
      fsdp: None is the config's, or the largest divisor of it and num_chips.

    Raises:
      ValueError: fsdp does not divide the number of chips.
    """
    # A plain ConfigDict(config) would share its groups with `config`.
    config = ml_collections.ConfigDict(config).copy_and_resolve_references()
    wanted = config.mesh.fsdp if config.mesh.fsdp > 0 else num_chips
    fsdp = math.gcd(wanted, num_chips) if fsdp is None else fsdp
    if fsdp < 1 or num_chips % fsdp:
        raise ValueError(
            f"--fsdp is {fsdp}, which does not divide {num_chips} chips; use a divisor"
        )
    config.mesh.fsdp, config.mesh.data = fsdp, num_chips // fsdp
    if batch is not None:
        config.data.batch_size = batch
    config.data.records = pipeline.SYNTHETIC
    config.train.init_from = ""
    return config


def frozen_shapes(config: ml_collections.ConfigDict) -> dict:
    """Shapes of the parameters that `train` would load and never trains."""
    if config.task != "id2face":
        return {}
    size = config.data.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    autoencoder = build.make_autoencoder(config)
    params = jax.eval_shape(autoencoder.init, jax.random.key(0), image)["params"]
    frozen = {"autoencoder": params}
    if steps.needs_recognizer(config):
        frozen["recognizer"] = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            whitening.frozen_recognizer(),
        )
    return frozen
