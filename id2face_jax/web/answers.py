"""One photo to one answer of the page: what became of it, in plain words.

Owns the page's limits, its words, and the rule that a picture goes back only if every
face in it is hidden. Works in memory alone: nothing here opens a file for writing.
Leaves the faces to `anonymizer`, and how an answer travels to `server`.
"""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.io.images import Photo
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer, Result
from id2face_jax.anonymize.pipeline.verify import Check
from id2face_jax.anonymize.report import schema

# A photo of a good camera; about 1 GB of memory in work.
MAX_BYTES, MAX_PIXELS = 50_000_000, 50_000_000

_HEADLINES = {
    "anonymized": "Every face is a new one. No original face is recognized any more.",
    "fallback": "Every face is hidden, but not each by a new one: some are blurred.",
    "no_face": "No face was found, so nothing was changed and there is nothing to "
    "save. If there is one, do not publish this photo as it is.",
    "refused": "A face could not be hidden, so no picture is given out.",
}
_FACES = {
    "anonymized": "new face",
    "fallback": "blurred: no new face hid this person well enough",
    "refused": "could not be hidden",
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the page gets.

    Attributes:
      about: JSON: `state`, `headline`, `faces`, `type` of the picture and `report`.
      picture: the new picture's file, without metadata; empty if none is given out.
    """

    about: dict
    picture: bytes


def answer(
    anonymizer: Anonymizer, content: bytes, *, seed: int, strength: float
) -> Answer:
    """The answer to a photo's file.

    Raises ValueError, to be shown to the user, if the file is no photo that can be
    worked on, or a setting is out of range.
    """
    anonymizer = anonymizer.with_settings(seed=seed, strength=strength)
    photo = images.read_stream(io.BytesIO(content), "the photo", MAX_PIXELS)
    photo = dataclasses.replace(photo, pixels=flattened(photo), alpha=None)
    result = anonymizer(photo.pixels)
    suffix = ".jpg" if content.startswith(b"\xff\xd8") else ".png"
    picture = b""
    if result.state in ("anonymized", "fallback"):
        picture = images.encode(photo, result.image, suffix, "strip")
    headline = _HEADLINES[result.state]
    if picture and result.covered:
        headline += f" Blurred, in case they are faces: {len(result.covered)} more."
    about = {
        "state": result.state,
        "headline": headline,
        "faces": _faces(result, photo.pixels.shape),
        "type": {".jpg": "image/jpeg", ".png": "image/png"}[suffix],
        "report": {**schema.run_record(anonymizer.tools), **result.report},
    }
    return Answer(about, picture)


def flattened(photo: Photo) -> UInt8[np.ndarray, "h w 3"]:
    """The photo on white: its opacity, too, may draw a face, and then must be seen."""
    if photo.alpha is None:
        return photo.pixels
    weight = photo.alpha[..., None].astype(np.float32) / 255
    mixed = weight * photo.pixels + (1 - weight) * 255
    return np.round(mixed).astype(np.uint8)


def _faces(result: Result, shape: tuple[int, ...]) -> list[dict]:
    """Each face's row; its box is in shares of the picture's width and height."""
    height, width = shape[:2]
    rows = []
    for face in result.faces:
        box = np.clip(face.detection.box / [width, height, width, height], 0, 1)
        row = {
            "box": [round(float(share), 4) for share in box],
            "state": face.state,
            "outcome": _FACES[face.state],
            "attempts": face.attempts,
        }
        rows.append(row | risk(face.checks))
    return rows


def risk(checks: Sequence[Check]) -> dict:
    """How far a face is from being recognized, by the recognizer that is closest.

    `cosine` to the most similar original face, the `threshold` that it must stay below,
    and both in words; the numbers are None if the face cannot be compared.
    """
    if not checks:
        return {
            "cosine": None,
            "threshold": None,
            "words": "cannot be compared: too little of a face",
        }
    worst = max(checks, key=lambda check: check.cosine - check.threshold)
    if not worst.passed:
        words = "high: still recognized"
    elif worst.cosine < worst.threshold / 2:
        words = "low: far below the limit"
    else:
        words = "moderate: below the limit, but near it"
    # NaN is no JSON; such a check has failed.
    cosine = None if np.isnan(worst.cosine) else round(worst.cosine, 3)
    return {
        "cosine": cosine,
        "threshold": round(float(worst.threshold), 3),
        "words": words,
    }
