"""The methods under evaluation: names to functions from crops to crops.

Owns the list of methods and what each one claims. The generator's variants share one
compiled program a mode; the controls are in `baselines`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.evaluation import baselines
from id2face_jax.evaluation.people import Batch, People
from id2face_jax.generation import generate

# Method to generate.MODES, and what it is, for readers of the report.
GENERATOR = {
    "id2face": (
        "free",
        "our generator: a random face, --strength degrees from the source's",
    ),
    "keep": (
        "embedding",
        "the same with the source's apparent sex, age and skin tone: --appearance keep",
    ),
    "latent": ("latent", "ablation: held away in the identity latent instead"),
    "no-oim": ("none", "ablation: a random face, not held away from the source's"),
    "null": ("null", "ablation: no identity given, attributes only"),
    "own": ("own", "upper bound: our generator asked for the source's own identity"),
}
CONTROLS = {
    "identity": "control: the untouched photo",
    "blur": "control: face box blurred",
    "pixelate": "control: face box in coarse cells",
    "black": "control: face box in black",
    "swap": "control: another person's face pasted in",
}
NAMES = (*GENERATOR, *CONTROLS)
DEFAULT = ("id2face", "no-oim", "null", "swap", "pixelate", "blur", "black", "identity")


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
      name, meaning: for people.
      run: from a batch of faces to new crops, uint8 (n, s, s, 3).
      depends_on: what the crops depend on beside the faces and seeds (JSON-able).
      must_hide: whether an output that is still recognised fails the evaluation.
      draws_identity: whether another identity seed gives another face.
      boxed: changes the face box, not the identity mask.
      requested: from a batch to the unit embeddings (n, d) that were asked for.
    """

    name: str
    meaning: str
    run: Callable[[Batch], UInt8[np.ndarray, "n s s 3"]]
    depends_on: Any
    must_hide: bool = False
    draws_identity: bool = False
    boxed: bool = False
    requested: Callable[[Batch], Float[np.ndarray, "n d"]] | None = None


@dataclasses.dataclass(frozen=True)
class Generator:
    """Weights and how they are sampled. config: frozen, hashable."""

    config: Any
    weights: Any
    sha256: str
    num_steps: int
    angle: float
    batch_size: int


def _padded(function, batch: Batch, latents, size: int) -> np.ndarray:
    """Applies a jitted function to rows in batches of one size, so it compiles once."""
    parts = []
    seeds = batch.noise_seeds()
    for first in range(0, len(batch.rows), size):
        rows = np.arange(first, min(first + size, len(batch.rows)))
        padded = np.resize(rows, size)
        images, masks, embeddings, padded_seeds, padded_latents = (
            jnp.asarray(array[padded])
            for array in (batch.images, batch.masks, batch.embeddings, seeds, latents)
        )
        faces = generate.Faces(images, masks, embeddings)
        out = function(faces, padded_seeds, padded_latents)
        parts.append(np.asarray(out)[: len(rows)])
    return np.concatenate(parts)


def make_generator_method(name: str, generator: Generator) -> Method:
    """The Method of one entry of GENERATOR."""
    mode, meaning = GENERATOR[name]
    config = generator.config
    options = {"mode": mode, "angle": generator.angle}

    @jax.jit
    def crops(weights, faces, seeds, latents):
        return generate.generate(
            config,
            weights,
            faces,
            seeds,
            num_steps=generator.num_steps,
            latents=latents,
            **options,
        )

    @jax.jit
    def embeddings(weights, faces, seeds, latents):
        del seeds
        return generate.requested_embeddings(config, weights, faces, latents, **options)

    def over(function, batch: Batch) -> np.ndarray:
        return _padded(
            functools.partial(function, generator.weights),
            batch,
            batch.latents(config.model.identity_dim),
            generator.batch_size,
        )

    draws = name not in ("own", "null")
    return Method(
        name,
        meaning,
        functools.partial(over, crops),
        [name, generator.sha256, generator.num_steps, generator.angle],
        must_hide=draws,
        draws_identity=draws,
        requested=None if name == "null" else functools.partial(over, embeddings),
    )


def _donors(people: People, batch: Batch) -> np.ndarray:
    """Rows of faces of other people, drawn by the identity latents."""
    rows, donors = np.arange(len(people)), []
    for row, latent in zip(batch.rows, batch.latents(2), strict=True):
        others = rows[people.persons != people.persons[row]]
        rng = np.random.default_rng(latent.view(np.uint32))
        donors.append(others[rng.integers(len(others))])
    return np.array(donors)


def make_control(name: str, people: People) -> Method:
    """The Method of one entry of CONTROLS."""
    key = [name, baselines.BLUR_SIGMA, baselines.PIXELATE_CELLS]
    meaning = CONTROLS[name]
    if name == "swap":

        def swap(batch):
            donors = people.images(_donors(people, batch))
            return baselines.swap(batch.images, donors, batch.masks)

        def requested(batch):
            return people.embeddings[_donors(people, batch)]

        return Method(
            name, meaning, swap, key, draws_identity=True, requested=requested
        )
    if name == "identity":
        return Method(name, meaning, lambda batch: batch.images.copy(), key)
    change = {
        "black": baselines.black,
        "blur": baselines.blur,
        "pixelate": baselines.pixelate,
    }[name]

    def run(batch):
        return change(batch.images, people.face_box)

    return Method(name, meaning, run, key, boxed=True)


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for a method that does not exist, or comes twice."""
    unknown = [name for name in names if name not in NAMES]
    if unknown or len(set(names)) < len(names):
        raise ValueError(
            f"methods are {','.join(names)}; expected some of {','.join(NAMES)}, each "
            "once"
        )


def _check_fit(people: People, generator: Generator) -> None:
    wanted = (generator.config.data.image_size, generator.config.model.embedding_dim)
    found = (people.size, people.embeddings.shape[1])
    if found != wanted:
        raise ValueError(
            f"the records hold {found[0]} px crops with {found[1]}-d embeddings; this "
            f"model takes {wanted[0]} px and {wanted[1]}-d, so prepare the photos with "
            f"--size {wanted[0]} and the recogniser it was trained with"
        )


def make_methods(
    names: Sequence[str], people: People, generator: Generator | None
) -> list[Method]:
    """The methods asked for, in that order; those of GENERATOR need one."""
    check_names(names)
    if generator is not None and any(name in GENERATOR for name in names):
        _check_fit(people, generator)
    return [
        make_generator_method(name, generator)
        if name in GENERATOR
        else make_control(name, people)
        for name in names
    ]
