"""The sampler's speed: faces a second by batch and by steps, from crop to crop.

Owns the made-up faces it is given; time depends on shapes alone. What runs is
`generate.generate`, compiled whole: encoder, identity, DDIM, decoder, uint8.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from id2face_jax.benchmark import timing
from id2face_jax.compiling import inference_options
from id2face_jax.faces import align
from id2face_jax.faces.mask import face_mask
from id2face_jax.generation import generate
from id2face_jax.plan import flops

MODE = "embedding"  # as the anonymizer samples


@dataclasses.dataclass(frozen=True)
class Model:
    """Config and weights of an export."""

    config: ml_collections.FrozenConfigDict
    weights: dict

    @property
    def num_parameters(self) -> int:
        """Of all networks together."""
        return _count(self.weights)

    @property
    def num_unet_parameters(self) -> int:
        """Of the denoiser alone."""
        return _count(self.weights["model"]["unet"])


def _count(tree) -> int:
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))


def make_faces(config: ml_collections.ConfigDict, num: int) -> generate.Faces:
    """`num` crops of noise under the mask of an upright face."""
    rng, size = np.random.default_rng(0), config.data.image_size
    embeddings = rng.normal(size=(num, config.model.embedding_dim))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    mask = face_mask(align.template(size), size)
    return generate.Faces(
        jnp.asarray(rng.integers(0, 256, (num, size, size, 3), np.uint8)),
        jnp.asarray(np.stack([mask] * num), jnp.float32),
        jnp.asarray(embeddings, jnp.float32),
    )


def _function(model: Model, num_steps: int) -> Callable:
    return functools.partial(
        generate.generate, model.config, mode=MODE, num_steps=num_steps
    )


def jitted(model: Model, num_steps: int) -> Callable:
    """(weights, faces, seeds) -> crops, not yet compiled."""
    options = inference_options()
    return jax.jit(_function(model, num_steps), compiler_options=options)


def make_task(model: Model, batch: int, num_steps: int) -> Callable[[], None]:
    """One call of the compiled sampler, to its end."""
    faces = jax.device_put(make_faces(model.config, batch))
    seeds = jax.device_put(np.arange(batch, dtype=np.uint32))
    weights = jax.device_put(model.weights)
    program = jitted(model, num_steps)
    return lambda: jax.block_until_ready(program(weights, faces, seeds))


def count_flops(model: Model, num_steps: int) -> int:
    """Operations of matrix products and convolutions for one face."""
    faces, seeds = make_faces(model.config, 1), np.zeros(1, np.uint32)
    return flops.of_function(_function(model, num_steps), model.weights, faces, seeds)


def measure(
    model: Model, settings: Sequence[tuple[int, int]], repeats: int, ceiling: float
) -> dict:
    """The table of the sampler.

    Args:
      model: what is sampled.
      settings: (batch, steps) of each row.
      repeats: measured ones, in turns over the rows.
      ceiling: GFLOP/s of the machine's matrix products.
    """
    tasks = {f"{b}x{n}": make_task(model, b, n) for b, n in settings}
    seconds = timing.in_turns(tasks, repeats)
    operations_of = {n: count_flops(model, n) for n in {n for _, n in settings}}
    rows = []
    for batch, num_steps in settings:
        time = timing.summary(seconds[f"{batch}x{num_steps}"])
        operations = batch * operations_of[num_steps]
        rate = operations / time["median"] / 1e9
        rows.append(
            {
                "batch": batch,
                "steps": num_steps,
                "seconds": time,
                "faces_per_s": batch / time["median"],
                "gflop_per_face": operations / batch / 1e9,
                "gflops": rate,
                "share_of_ceiling": rate / ceiling,
            }
        )
    return {
        "parameters": model.num_parameters,
        "unet_parameters": model.num_unet_parameters,
        "rows": rows,
    }
