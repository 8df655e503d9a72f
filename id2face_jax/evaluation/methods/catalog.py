"""All methods by name, and those that were asked for."""

from collections.abc import Sequence

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.report import schema
from id2face_jax.evaluation.methods import anonymize, controls
from id2face_jax.evaluation.methods import generator as generators
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.people import WITHOUT_PHOTOS, People

NAMES = (anonymize.NAME, *generators.GENERATOR, *controls.CONTROLS)
# What ships comes first: it is what the report is about.
DEFAULT = (
    anonymize.NAME,
    "id2face",
    "no-oim",
    "null",
    "swap",
    "pixelate",
    "blur",
    "black",
    "identity",
)


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
    names: Sequence[str],
    people: People,
    generator: Generator | None,
    anonymizer: Anonymizer | None = None,
) -> list[Method]:
    """The methods asked for, in that order.

    Args:
      names: some of NAMES.
      people: whom to evaluate.
      generator: needed by those of generators.GENERATOR.
      anonymizer: needed by anonymize.NAME, with the photos of `people`.

    Raises:
      ValueError: unknown names, or people that do not fit.
    """
    check_names(names)
    if anonymize.NAME in names and people.read_photo is None:
        raise ValueError(WITHOUT_PHOTOS)
    if generator is not None and any(name in generators.GENERATOR for name in names):
        _check_fit(people, generator)

    def make(name: str) -> Method:
        if name == anonymize.NAME:
            made_with = schema.run_record(anonymizer.tools)
            return anonymize.make_anonymize_method(anonymizer, people, made_with)
        if name in generators.GENERATOR:
            return generators.make_generator_method(name, generator)
        return controls.make_control(name, people)

    return [make(name) for name in names]
