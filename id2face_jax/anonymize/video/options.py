"""What a user chooses about videos, checked once."""

import dataclasses

from id2face_jax.anonymize.video.container import Span


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """What a user chooses about videos.

    Attributes:
      span: what to take of it.
      audio: whether sound is kept.
      hold: seconds that the place of a lost face is covered at most; None is until it
        is found again.
    """

    span: Span = Span()
    audio: bool = True
    hold: float | None = None

    def __post_init__(self):
        if self.hold is not None and not self.hold >= 0:
            raise ValueError(f"hold is {self.hold} seconds; use 0 or more")
