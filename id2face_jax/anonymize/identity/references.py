"""Who is who: faces that stay, faces that change, and whose pseudonym a face gets.

Owns reference photos (--keep, --only) and person ids by name (--person-from). Two rules
follow from hiding in doubt: a face is kept only if it is much nearer to the reference
than other people are, and if it is the nearest of its picture; a face is changed under
--only if it is at all like the reference. Leaves ids by similarity to `gallery`.
"""

import csv
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline.anonymizer import Chooser, Namer
from id2face_jax.anonymize.pipeline.face import Face
from id2face_jax.anonymize.pipeline.pipeline import Tools
from id2face_jax.faces import finding

# In units of the recognizer's threshold. Measured with dlib's on 8 million pairs of
# LFW's training people: 0.008 % of other people and 82 % of photos of the same person
# pass 1.25 times the threshold; 4.4 % and 99.9 % pass half of it.
_KEEP, _ONLY = 1.25, 0.5


def reference(
    tools: Tools, paths: Sequence[str | os.PathLike]
) -> Float[np.ndarray, "n d"]:
    """Embeddings of the faces of reference photos.

    Raises ValueError if a photo does not show exactly one face.
    """
    pictures = [images.to_pixels(path) for path in paths]
    landmarks = []
    for path, pixels in zip(paths, pictures, strict=True):
        found = finding.find_faces(tools.detector, pixels, tools.settings.det_threshold)
        faces = [face for face in found if finding.is_face_shaped(face.landmarks)]
        if len(faces) != 1:
            raise ValueError(
                f"reference {path} shows {len(faces)} faces; crop it to one face"
            )
        landmarks.append(faces[0].landmarks)
    return tools.recognizers[0](pictures, np.stack(landmarks))


def keep(tools: Tools, references: Float[np.ndarray, "n d"]) -> Chooser:
    """Changes all faces but, for each reference, the one that is surely it."""
    least = min(_KEEP * tools.recognizers[0].threshold, 0.95)

    def choose(faces: Sequence[Face]) -> list[bool]:
        cosines = _cosines(faces, references)
        changes = [True] * len(faces)
        for column in cosines.T if len(faces) else ():
            nearest = int(np.argmax(column))
            if column[nearest] >= least:
                changes[nearest] = False
        return changes

    return choose


def only(tools: Tools, references: Float[np.ndarray, "n d"]) -> Chooser:
    """Changes faces that may be a reference's, and those that cannot be compared."""
    least = _ONLY * tools.recognizers[0].threshold

    def choose(faces: Sequence[Face]) -> list[bool]:
        cosines = _cosines(faces, references)
        return [
            face.embeddings is None or bool(np.max(row) >= least)
            for face, row in zip(faces, cosines, strict=True)
        ]

    return choose


def _cosines(
    faces: Sequence[Face], references: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "m n"]:
    """Faces by references; -1 for a face without an embedding."""
    lowest = np.full(len(references), -1.0, np.float32)
    rows = [
        lowest if face.embeddings is None else references @ face.embeddings[0]
        for face in faces
    ]
    return np.stack(rows) if rows else np.zeros((0, len(references)), np.float32)


def namer_by_name(
    source_of_names: str,
) -> Callable[[pathlib.Path], Namer]:
    """Person ids from file names: of the largest face; others have none.

    source_of_names: "parent" (the folder's name), "filename" (up to its last "_" or
      "-" and number, so that `ann_01.jpg` and `ann_02.jpg` are one person), or a .csv
      with the columns `file` and `person`, where `file` ends the path of the picture.
    """
    if source_of_names == "parent":
        person_of = _parent
    elif source_of_names == "filename":
        person_of = _stem
    elif source_of_names.lower().endswith(".csv"):
        person_of = _table(source_of_names)
    else:
        raise ValueError(
            f"--person-from is {source_of_names!r}; use parent, filename, or a .csv "
            "file with the columns file and person"
        )

    def namer_of(source: pathlib.Path) -> Namer:
        person = person_of(source)
        return lambda faces: [person if i == 0 else None for i in range(len(faces))]

    return namer_of


def tag_of_names(source_of_names: str) -> bytes:
    """What differs where `namer_by_name` would give other names to the same files."""
    is_table = source_of_names.lower().endswith(".csv")
    content = pathlib.Path(source_of_names).read_bytes() if is_table else b""
    return source_of_names.encode("utf-8", "surrogateescape") + content


def _parent(source: pathlib.Path) -> str:
    return source.absolute().parent.name


def _stem(source: pathlib.Path) -> str:
    name = source.stem.rstrip("0123456789")
    return name.rstrip("_- ") or source.stem


def _table(path: str) -> Callable[[pathlib.Path], str]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "person"} <= rows[0].keys():
        raise ValueError(f"{path} needs a header with the columns file and person")
    people = {pathlib.PurePath(row["file"]).parts: row["person"] for row in rows}

    def person_of(source: pathlib.Path) -> str:
        parts = source.parts
        for start in range(len(parts)):
            if parts[start:] in people:
                return people[parts[start:]]
        raise ValueError(f"{path} has no row for {source}")

    return person_of
