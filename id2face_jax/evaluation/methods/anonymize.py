"""The whole path as a method: what `id2face anonymize` would have written.

Each full photo goes through the real anonymizer: detection, generation, paste,
verification, blur in doubt. What comes out is cut by the source's own landmarks, as all
crops are, and encoded as the records hold theirs. A photo that is not written is
measured as a black crop; none is dropped, and the states count what became of each.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.anonymize.pipeline.anonymizer import Result
from id2face_jax.data import prepare
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.people import Batch, People
from id2face_jax.faces import align
from id2face_jax.faces.detect import Detection

NAME = "anonymize"
_MEANING = "what ships: id2face anonymize on the full photo, checked after the paste"
# What may become of a photo, for readers of the report.
STATES = {
    "anonymized": "written, every face in it is new and passed the checks",
    "fallback": "written, a face in it could only be blurred",
    "missed": "written, but the face that is measured was not found and is as it was",
    "no_face": "not written, no face was found",
    "refused": "not written, a face could not be hidden",
}
_AT_ONCE = 8  # full photos in memory


@runtime_checkable  # so that annotations are checked in tests
class Anonymizer(Protocol):
    """What is asked of the anonymizer; see `anonymize.pipeline.anonymizer`."""

    def anonymize_all(
        self, pictures: Sequence[UInt8[np.ndarray, "_h _w 3"]]
    ) -> list[Result]: ...


def make_anonymize_method(
    anonymizer: Anonymizer, people: People, depends_on: Any
) -> Method:
    """The whole path as a Method.

    Its identities are the generator's, so several of one face, and keys, are measured
    on the generator's own row, which takes half as long.

    Args:
      anonymizer: with its settings.
      people: whose full photos can be read.
      depends_on: what the anonymizer's results depend on (JSON-able).
    """

    def run(batch: Batch):
        crops, states = [], []
        for first in range(0, len(batch.rows), _AT_ONCE):
            rows = batch.rows[first : first + _AT_ONCE].tolist()
            results = anonymizer.anonymize_all([people.photo(row) for row in rows])
            for row, result in zip(rows, results, strict=True):
                crop, state = outcome(
                    result, people.matrices[row], people.landmarks[row], people.size
                )
                crops.append(crop)
                states.append(state)
        return np.stack(crops), np.array(states)

    return Method(NAME, _MEANING, run, depends_on, must_hide=True, states=STATES)


def outcome(
    result: Result,
    matrix: Float[np.ndarray, "2 3"],
    landmarks: Float[np.ndarray, "5 2"],
    size: int,
) -> tuple[UInt8[np.ndarray, "size size 3"], str]:
    """The measured face as it was written, and one of STATES.

    Args:
      result: of the whole photo.
      matrix: photo -> crop.
      landmarks: of the measured face, in its crop.
      size: pixels of the crop's side.
    """
    if result.image is None:
        return np.zeros((size, size, 3), np.uint8), result.state
    crop = align.crop(result.image, matrix.astype(np.float64), size)
    crop = prepare.decode_crop(prepare.encode_crop(crop))
    center = landmarks.mean(axis=0)
    eyes = np.linalg.norm(landmarks[1] - landmarks[0])

    def is_measured(found: Detection) -> bool:
        points = align.transform_points(matrix, found.landmarks)
        return bool(np.linalg.norm(points.mean(axis=0) - center) < eyes / 2)

    if any(is_measured(face.detection) for face in result.faces):
        return crop, result.state
    # What the detector is not sure of is blurred, without a new face.
    is_covered = any(map(is_measured, result.covered))
    return crop, "fallback" if is_covered else "missed"
