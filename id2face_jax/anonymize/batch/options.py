"""What a user chooses about files, checked once."""

import dataclasses

from id2face_jax.anonymize.io import metadata
from id2face_jax.anonymize.video.options import VideoOptions

ON_NO_FACE = ("copy", "refuse", "skip")


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """What a user chooses about files.

    Attributes:
      on_no_face: "copy" writes a picture without faces, re-encoded; "refuse" counts it
        as refused; "skip" writes nothing.
      metadata: see the module `metadata`; of labels, whether links to the originals
        stay.
      overwrite: redo results that are there.
      skip_existing: leave our results as they are, whatever they were made with.
      aligned: pictures are aligned crops.
      dry_run: draw the faces found, each blurred, instead of anonymizing.
      batch_size: pictures in work at once.
      video: what is chosen about videos.
      members: suffixes of an archive's members that pass, though they are no text.
    """

    on_no_face: str = "refuse"
    metadata: str = "strip"
    overwrite: bool = False
    skip_existing: bool = False
    aligned: bool = False
    dry_run: bool = False
    batch_size: int = 16
    video: VideoOptions = VideoOptions()
    members: tuple[str, ...] = ()

    def __post_init__(self):
        metadata.check_policy(self.metadata)
        if self.on_no_face not in ON_NO_FACE:
            raise ValueError(
                f"on_no_face is {self.on_no_face!r}; use one of {', '.join(ON_NO_FACE)}"
            )
        if self.batch_size < 1:
            raise ValueError(f"batch size is {self.batch_size}; use 1 or more")
