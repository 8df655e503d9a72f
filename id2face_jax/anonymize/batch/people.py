"""Whose faces a run meets, and which of them it changes.

Owns the walk over all photos that says who is who by similarity. Leaves the gallery to
`identity.gallery`, and names from files and references to `identity.references`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tqdm
from jaxtyping import Float

from id2face_jax.anonymize.batch.discovery import Job
from id2face_jax.anonymize.identity import gallery
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline import pipeline
from id2face_jax.anonymize.pipeline.anonymizer import Chooser, Namer
from id2face_jax.anonymize.pipeline.face import Face


@dataclasses.dataclass(frozen=True)
class People:
    """Whose faces, and which: a namer for each file, and one chooser.

    rule: what the report calls the chooser: "all", "keep" or "only".
    tag: differs where other people are chosen or named; it is in no report.
    """

    namer: Callable[[pathlib.Path], Namer | None] = lambda source: None
    chooser: Chooser | None = None
    rule: str = "all"
    tag: bytes = b""


def namer_by_similarity(
    tools: pipeline.Tools,
    jobs: Sequence[Job],
    path: str | os.PathLike,
    *,
    aligned: bool = False,
    quiet: bool = False,
) -> Callable[[pathlib.Path], Namer]:
    """Looks through all jobs once, updates the gallery, and names their faces.

    Args:
      tools: with a key in its settings.
      jobs: of the run; those that cannot be read are left for the run to refuse.
      path: of the gallery.
      aligned, quiet: as in the run.
    """
    recognizer, key = tools.recognizers[0], tools.settings.key
    known = gallery.read(path, key, recognizer.name)
    faces: dict[str, Float[np.ndarray, " d"]] = {}
    for job in tqdm.tqdm(jobs, desc="who is who", unit="file", disable=quiet):
        try:
            pixels = images.to_pixels(job.source)
            picture = pipeline.open_picture(tools, pixels, aligned)
        except (ValueError, OSError):
            continue
        pipeline.prepare(tools, [(picture, picture.faces)])
        for face in picture.faces:
            if face.embeddings is not None:
                faces[face.digest.hex()] = face.embeddings[0]
    known.add(faces, recognizer.threshold)
    gallery.write(path, key, known)

    def name(faces: Sequence[Face]) -> list[str | None]:
        # Those of a video are met only when it is worked on.
        new = {
            face.digest.hex(): face.embeddings[0]
            for face in faces
            if face.embeddings and face.digest.hex() not in known.owners
        }
        if new:
            known.add(new, recognizer.threshold)
            gallery.write(path, key, known)
        return [known.owners.get(face.digest.hex()) for face in faces]

    return lambda source: name
