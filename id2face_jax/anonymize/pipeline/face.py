"""A face and a picture in work: what is known of them, and what became of them.

Owns the states. Leaves the pixels to `canvas` and the steps to `pipeline`.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from id2face_jax.anonymize.pipeline.canvas import Canvas
from id2face_jax.anonymize.pipeline.verify import Check
from id2face_jax.faces.detect import Detection

FACE_STATES = ("anonymized", "fallback", "refused", "kept")
STATES = ("anonymized", "no_face", "fallback", "refused")


@dataclasses.dataclass
class Face:
    """A face of a picture in work; in a result, what became of it.

    Attributes:
      detection: box, score and points in the picture.
      embeddings: of the source, one a recognizer; None if its points fix no crop.
      matrix: picture -> crop; None as above.
      mask: of the crop.
      digest: of the source crop's pixels; noise and identity follow from it.
      avoids: the embedding that the new face must stand away from; the source's own,
        or its mean over a video.
      person: whose face it is, where identities are keyed.
      state: one of FACE_STATES; None in work.
      checks: of the last verification, one a recognizer.
      attempts: how often it was generated.
      angle: degrees, of the last attempt.
      seen: whether a face is still detected where it was.
    """

    detection: Detection
    embeddings: tuple[Float[np.ndarray, " _"], ...] | None = None
    matrix: Float[np.ndarray, "2 3"] | None = None
    mask: Float[np.ndarray, "s s"] | None = None
    digest: bytes = b""
    avoids: Float[np.ndarray, " _"] | None = None
    person: str | None = None
    state: str | None = None
    checks: tuple[Check, ...] = ()
    attempts: int = 0
    angle: float = 0.0
    seen: bool = False

    @property
    def cosine(self) -> float | None:
        """The conditioning recognizer's highest cosine to a source face."""
        return self.checks[0].cosine if self.checks else None

    @property
    def threshold(self) -> float | None:
        """What `cosine` must stay below."""
        return self.checks[0].threshold if self.checks else None

    @property
    def hidden(self) -> bool:
        """Whether every recognizer passed it at the last verification."""
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclasses.dataclass
class Picture:
    """A picture in work; its faces are largest first, and last those first missed.

    Attributes:
      places: what the detector took for a face and is not sure of; they are covered.
        They get no new face, and no new face has to stand away from them.
      covered: those, and where else a face may be that is none of `faces`; blurred.
    """

    canvas: Canvas
    faces: list[Face]
    places: list[Detection] = dataclasses.field(default_factory=list)
    covered: list[Detection] = dataclasses.field(default_factory=list)

    def in_work(self) -> list[int]:
        """Indices of the faces that have no state yet."""
        return [i for i, face in enumerate(self.faces) if face.state is None]

    def to_generate(self) -> list[int]:
        """Indices of those whose points fix a crop; the others can only be blurred."""
        return [i for i in self.in_work() if self.faces[i].matrix is not None]

    @property
    def state(self) -> str:
        """One of STATES, once no face is in work: the worst of the faces'.

        A place that is hidden beside them takes nothing from faces that are new; alone
        it is a face that could only be blurred.
        """
        states = {face.state for face in self.faces}
        if self.places and not states & {"anonymized", "refused"}:
            states.add("fallback")
        worst = (s for s in ("refused", "fallback", "anonymized") if s in states)
        return next(worst, "no_face")
