"""Who is who by similarity: the people of a run, and of all runs with the same key.

Owns the gallery: embeddings of the people met so far, and which faces were theirs. It
is biometric data, so it is only ever written encrypted under the key. A face keeps the
person it was given once, and new faces are grouped at once for the whole run, so the
result depends on no order and survives a kill.
"""

import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from id2face_jax import atomic
from id2face_jax.anonymize.identity import keys

# Distances of all pairs are kept at once: 1.6 GB.
_MAX_NEW_FACES = 20_000


class Gallery:
    """People and their faces, in memory.

    Attributes:
      recognizer: name of the one whose embeddings these are.
      people: id -> unit embedding, the mean of the faces that founded it.
      owners: digest of a face's crop -> id.
    """

    def __init__(self, recognizer: str):
        self.recognizer = recognizer
        self.people: dict[str, Float[np.ndarray, " d"]] = {}
        self.owners: dict[str, str] = {}

    def add(self, faces: dict[str, Float[np.ndarray, " d"]], threshold: float) -> None:
        """Gives every face a person.

        Faces that are known keep theirs; those that are like a known person join it;
        the others found people, by average linkage.

        Args:
          faces: digest -> unit embedding.
          threshold: cosine above which two faces show one person.
        """
        # Sorted: the order in which files were read must not matter.
        new = {digest: faces[digest] for digest in sorted(faces.keys() - self.owners)}
        for digest in list(new):
            person = self._nearest(new[digest], threshold)
            if person is not None:
                self.owners[digest] = person
                del new[digest]
        for group in groups(list(new.values()), threshold):
            digests = [list(new)[i] for i in group]
            mean = np.mean([new[digest] for digest in digests], axis=0)
            person = digests[0]  # the least; no other person can have it
            self.people[person] = mean / max(float(np.linalg.norm(mean)), 1e-6)
            self.owners |= dict.fromkeys(digests, person)

    def _nearest(self, embedding, threshold: float) -> str | None:
        if not self.people:
            return None
        cosines = np.stack(list(self.people.values())) @ embedding
        best = int(np.argmax(cosines))
        return list(self.people)[best] if cosines[best] > threshold else None


def groups(
    embeddings: Sequence[Float[np.ndarray, " d"]], threshold: float
) -> list[list[int]]:
    """Indices by person: average linkage, cut where the mean cosine is `threshold`."""
    if len(embeddings) > _MAX_NEW_FACES:
        raise ValueError(
            f"{len(embeddings)} new faces are too many to compare at once; give at "
            f"most {_MAX_NEW_FACES} a run, or say who is who with --person-from"
        )
    if len(embeddings) < 2:
        return [[i] for i in range(len(embeddings))]
    # Here, and not above: photos without a key would wait for its import.
    from scipy.cluster import hierarchy

    tree = hierarchy.linkage(np.stack(embeddings), "average", metric="cosine")
    labels = hierarchy.fcluster(tree, 1 - threshold, "distance")
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(int(label), []).append(index)
    return list(members.values())


def read(path: str | os.PathLike, key: bytes, recognizer: str) -> Gallery:
    """The gallery in a file; a new one if there is none.

    Raises ValueError if it belongs to another key or recognizer.
    """
    gallery, path = Gallery(recognizer), pathlib.Path(path)
    if not path.exists():
        return gallery
    content = keys.unseal(key, path.read_bytes())
    if content is None:
        raise ValueError(f"{path} is damaged or belongs to another key; remove it")
    with np.load(io.BytesIO(content)) as arrays:
        if str(arrays["recognizer"]) != recognizer:
            raise ValueError(
                f"{path} holds embeddings of {arrays['recognizer']}, not of "
                f"{recognizer}; use that recognizer, or another gallery"
            )
        people = map(str, arrays["people"])
        gallery.people = dict(zip(people, arrays["embeddings"], strict=True))
        digests, owners = map(str, arrays["digests"]), map(str, arrays["owners"])
        gallery.owners = dict(zip(digests, owners, strict=True))
    return gallery


def write(path: str | os.PathLike, key: bytes, gallery: Gallery) -> None:
    """Writes the gallery, encrypted, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        recognizer=gallery.recognizer,
        people=np.array(list(gallery.people), dtype=str),
        embeddings=np.array(list(gallery.people.values()), np.float32),
        digests=np.array(list(gallery.owners), dtype=str),
        owners=np.array(list(gallery.owners.values()), dtype=str),
    )
    atomic.write_atomically(pathlib.Path(path), keys.seal(key, buffer.getvalue()))
