"""What the report says of a video: its faces over all frames, and their flicker.

Both are gathered frame by frame, and do not grow with the number of frames.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from id2face_jax.anonymize.pipeline.face import Face, Picture
from id2face_jax.anonymize.pipeline.pipeline import Tools
from id2face_jax.anonymize.report import schema
from id2face_jax.anonymize.video.container import Frame
from id2face_jax.faces import align

# A longer time between two frames, as long as so many usually take, is told.
_GAP_SECONDS, _GAP_FRAMES = 1.0, 10


@dataclasses.dataclass
class Tally:
    """What the report says of a video, gathered frame by frame.

    Attributes:
      faces: the worst of each track, and of faces that only one frame shows.
      frames: how many each has.
      blurred: how many of them are blurred.
      covered: in how many others its place is, since it was lost.
      num_frames, num_covered: of the video, and those in which a place is covered.
      num_doubtful: frames in which what may be a face is covered.
      first_doubt: when and where that is first.
      is_doubted: whether the detector took one of those for a face.
      seconds, end: when the last frame begins, and when it ends.
      gaps: (from, to) where frames of the source could not be read, in seconds.
    """

    faces: dict[int, Face] = dataclasses.field(default_factory=dict)
    frames: dict[int, int] = dataclasses.field(default_factory=dict)
    blurred: dict[int, int] = dataclasses.field(default_factory=dict)
    covered: Counter = dataclasses.field(default_factory=Counter)
    num_frames: int = 0
    num_covered: int = 0
    num_doubtful: int = 0
    first_doubt: str = ""
    is_doubted: bool = False
    seconds: float = 0.0
    end: float = 0.0
    gaps: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    def show(self, frame: Frame, rate: float) -> None:
        """Notes when a frame is shown, and what is missing before it.

        rate: frames a second of the source. Some containers step over damage without
        a word; then it shows in the times alone.
        """
        step = frame.seconds - self.seconds
        is_jump = self.num_frames > 0 and step > max(_GAP_SECONDS, _GAP_FRAMES / rate)
        if frame.after_loss or is_jump:
            self.gaps.append((self.end, frame.seconds))
        self.seconds = frame.seconds
        self.end = frame.seconds + float(frame.duration * frame.time_base)

    def remarks(self, end: float) -> list[str]:
        """What is to be told. end: of the source, as the file claims; 0: not known."""
        found = []
        if self.end + _GAP_SECONDS < end:
            found.append(f"the video breaks off at {self.seconds:.1f} of {end:.1f} s")
        if self.gaps:
            begin, stop = self.gaps[0]
            found.append(
                f"what could not be read is left out, {len(self.gaps)} times, first "
                f"between {begin:.1f} and {stop:.1f} s"
            )
        if self.num_covered:
            found.append(f"{self.num_covered} frames cover places of lost faces")
        if self.num_doubtful:
            found.append(
                f"{self.num_doubtful} frames have places blurred that may be faces, "
                f"first at {self.first_doubt}"
            )
        return found

    def add(
        self, picture: Picture, rows: Sequence[int], covered: Collection[int]
    ) -> None:
        """Counts one frame. covered: tracks whose place is covered in it."""
        self.covered.update(covered)
        self.num_covered += bool(covered)
        alone = [-1 - self.num_frames] * (len(picture.faces) - len(rows))
        for row, face in zip([*rows, *alone], picture.faces, strict=True):
            worst = self.faces.get(row)
            if worst is None or _badness(face) > _badness(worst):
                # Without what only pixels are made with: there may be thousands.
                self.faces[row] = dataclasses.replace(
                    face, mask=None, matrix=None, embeddings=None, avoids=None
                )
            self.frames[row] = self.frames.get(row, 0) + 1
            is_blurred = face.state == "fallback"
            self.blurred[row] = self.blurred.get(row, 0) + is_blurred
        self.num_frames += 1

    def doubt(self, picture: Picture, seconds: float, threshold: float) -> None:
        """Counts the places of one frame that may be faces, and are covered."""
        if not picture.covered:
            return
        if not self.num_doubtful:
            place = schema.describe_place(picture.covered[0])
            self.first_doubt = f"{seconds:.2f} s: {place}"
        self.num_doubtful += 1
        self.is_doubted |= any(place.score > threshold for place in picture.covered)

    @property
    def state(self) -> str:
        """Of the video: the worst of its frames'; a cover is a blur, too.

        What may be a face counts as in a photo, where it is all there is.
        """
        states = {face.state for face in self.faces.values()}
        if self.covered or (self.is_doubted and not states - {"kept"}):
            states.add("fallback")
        worst = (s for s in ("refused", "fallback", "anonymized") if s in states)
        return next(worst, "no_face")

    def records(self) -> list[dict]:
        """Faces as in the report, each with its frames."""
        return [
            {
                **schema.face_record(face),
                "frames": self.frames[row],
                "blurred_frames": self.blurred[row],
                "covered_frames": self.covered[row],
            }
            for row, face in sorted(self.faces.items(), key=lambda item: item[0] < 0)
        ]


def _badness(face: Face) -> tuple[int, float]:
    order = ("kept", "anonymized", "fallback", "refused")
    cosine = face.cosine
    return order.index(face.state), -1.0 if cosine is None else cosine


class Flicker:
    """How steady the new faces are, beside the steadiness of the source.

    Between neighboring frames of a track: `drift`, one minus the cosine of the
    embeddings, and `warp`, the mean absolute difference of the aligned crops, in gray
    levels of 255, inside of the mask.
    """

    def __init__(self, tools: Tools):
        self._tools = tools
        self._last: dict[int, tuple] = {}
        self._sum, self._num_steps = np.zeros(4), 0

    def add(self, picture: Picture, rows: Sequence[int]) -> None:
        """Compares a frame with the one before."""
        shown = {}
        for row, face in zip(rows, picture.faces, strict=False):
            if face.state == "anonymized" and face.embeddings is not None:
                shown[row] = self._view(picture, face)
        for row, now in shown.items():
            if row in self._last:
                self._sum += _step(self._last[row], now)
                self._num_steps += 1
        self._last = shown

    def _view(self, picture: Picture, face: Face) -> tuple:
        landmarks = face.detection.landmarks
        size = self._tools.generator.size
        crops = [
            align.crop(image, face.matrix, size).astype(np.float32)
            for image in (picture.canvas.original, picture.canvas.current)
        ]
        new = self._tools.recognizers[0]([picture.canvas.current], landmarks[None])[0]
        return face.embeddings[0], new, *crops, face.mask

    def record(self) -> dict | None:
        """The means; None if no face stayed for two frames."""
        if not self._num_steps:
            return None
        names = ("drift_source", "drift", "warp_source", "warp")
        means = self._sum / self._num_steps
        return {n: round(float(m), 4) for n, m in zip(names, means, strict=True)}


def _step(before: tuple, now: tuple) -> tuple[float, float, float, float]:
    drifts = [1.0 - float(before[i] @ now[i]) for i in (0, 1)]
    weight = np.minimum(before[4], now[4])[..., None]
    warps = [
        float(np.sum(weight * np.abs(before[i] - now[i])) / (3 * np.sum(weight) + 1e-6))
        for i in (2, 3)
    ]
    return (*drifts, *warps)
