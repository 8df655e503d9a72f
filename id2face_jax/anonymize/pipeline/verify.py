"""Is a face hidden? Looks at the picture after the paste, as an attacker would.

A face counts as hidden if every recognizer, at the points of the source face and at
those of every face that is now detected there, sees a cosine below its threshold (a
false accept rate of 0.1 %) to *each* source face of the picture. Owns that rule. Leaves
what follows from it to `anonymizer`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.anonymize.pipeline.parallel import over_cores
from id2face_jax.faces.embed import Recognizer


@dataclasses.dataclass(frozen=True)
class Check:
    """One recognizer's word: the highest cosine to any source face."""

    recognizer: str
    cosine: float
    threshold: float

    @property
    def passed(self) -> bool:
        # `<` alone: a NaN is a failure.
        return self.cosine < self.threshold


def embed(
    recognizers: Sequence[Recognizer],
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
    landmarks: Float[np.ndarray, "n 5 2"],
) -> list[Float[np.ndarray, "n d"]]:
    """Each recognizer's unit embeddings of source faces, given with their pictures.

    One face a call: the last bit of an embedding follows from its place in a batch, and
    the new face from the embedding, but a result must depend on no other picture.
    """

    def one(face):
        return [recognizer([face[0]], face[1][None]) for recognizer in recognizers]

    rows = over_cores(one, zip(images, landmarks, strict=True))
    return [np.concatenate(vectors) for vectors in zip(*rows, strict=True)]


def checks(
    recognizers: Sequence[Recognizer],
    image: UInt8[np.ndarray, "h w 3"],
    views: Sequence[Sequence[Float[np.ndarray, "5 2"]]],
    sources: Sequence[Float[np.ndarray, "m d"]],
) -> list[tuple[Check, ...]]:
    """What each recognizer says of each face of a picture.

    Args:
      image: after the paste.
      views: for each face, the points at which it is looked at; at least one each.
      sources: for each recognizer, the embeddings of all source faces.

    Returns:
      for each face, one check a recognizer.
    """
    if not views:
        return []
    counts = [len(points) for points in views]
    landmarks = np.concatenate([np.stack(points) for points in views])
    result: list[list[Check]] = [[] for _ in views]
    for recognizer, source in zip(recognizers, sources, strict=True):
        new = recognizer([image] * len(landmarks), landmarks)
        # np.max hands a NaN on, and a NaN fails.
        nearest = np.max(new @ source.T, axis=1)
        for face, cosines in enumerate(np.split(nearest, np.cumsum(counts)[:-1])):
            cosine = float(np.max(cosines))
            result[face].append(Check(recognizer.name, cosine, recognizer.threshold))
    return [tuple(face) for face in result]
