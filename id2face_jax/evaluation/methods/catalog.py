"""All methods by name, and those that were asked for."""

from collections.abc import Sequence

from id2face_jax.evaluation.methods import controls
from id2face_jax.evaluation.methods import generator as generators
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.people import People

NAMES = (*generators.GENERATOR, *controls.CONTROLS)
DEFAULT = ("id2face", "no-oim", "null", "swap", "pixelate", "blur", "black", "identity")


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
            f"--size {wanted[0]} and the recognizer it was trained with"
        )


def make_methods(
    names: Sequence[str], people: People, generator: Generator | None
) -> list[Method]:
    """The methods asked for, in that order; those of GENERATOR need one."""
    check_names(names)
    if generator is not None and any(name in generators.GENERATOR for name in names):
        _check_fit(people, generator)
    return [
        generators.make_generator_method(name, generator)
        if name in generators.GENERATOR
        else controls.make_control(name, people)
        for name in names
    ]
