"""The first pass over a video: what each frame shows, and that it stays the same file.

Keeps faces, places that may show one, times and a few colors of each frame, no pixels.
Owns how closely a frame is searched: every few frames as closely as a photo, which
takes several times as long; tracks run through the frames between. Leaves what follows
from it to `pipeline`.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from id2face_jax.anonymize.pipeline.pipeline import Tools
from id2face_jax.anonymize.video import container, occlusion
from id2face_jax.anonymize.video.container import Frame, Span
from id2face_jax.anonymize.video.tracks import Sighting
from id2face_jax.faces import finding
from id2face_jax.faces.detect import Detection

# Seconds between two frames that are searched as closely as photos.
_CLOSELY = 0.2


@dataclasses.dataclass
class Scan:
    """What the first pass saw: the faces of each frame, its time, and its colors.

    Attributes:
      places: of each frame, where a face may be that is none of its sightings.
      step: every so many frames were searched as closely as photos.
      size: width and height of the frames.
    """

    step: int
    places: list[list[Sighting]] = dataclasses.field(default_factory=list)
    sightings: list[list[Sighting]] = dataclasses.field(default_factory=list)
    times: list[int] = dataclasses.field(default_factory=list)
    thumbnails: list[np.ndarray] = dataclasses.field(default_factory=list)
    size: tuple[int, int] = (0, 0)


def scan(tools: Tools, path: pathlib.Path, span: Span, quiet: bool = False) -> Scan:
    """The first pass: what is seen in each frame, doubtful faces too."""
    seen = Scan(max(1, round(_CLOSELY * float(container.rate(path)))))
    frames = container.frames(path, span)
    for index, frame in enumerate(
        tqdm.tqdm(frames, "frames searched", unit="frame", disable=quiet)
    ):
        is_close = index % seen.step == 0
        sightings = _sightings(tools, frame, is_close)
        seen.sightings.append(sightings)
        known = [sighting.detection for sighting in sightings]
        seen.places.append(_places(tools, frame, known) if is_close else [])
        seen.times.append(frame.pts)
        seen.thumbnails.append(occlusion.thumbnail(frame.pixels))
        seen.size = (frame.pixels.shape[1], frame.pixels.shape[0])
    if not seen.times:
        raise ValueError(f"{path.name} has no frame in the span, or breaks off")
    return seen


def again(path: pathlib.Path, span: Span, times: Sequence[int]) -> Iterator[Frame]:
    """The frames of `scan` once more; raises ValueError if they are others.

    What was not searched must not be written as if there were no face in it.
    """
    frames = container.frames(path, span)
    for time, frame in itertools.zip_longest(times, frames):
        if frame is None or frame.pts != time:
            raise ValueError(f"{path.name} changed while it was read")
        yield frame


def _places(tools: Tools, frame: Frame, known: list[Detection]) -> list[Sighting]:
    """Where a photo would be covered, too; none of them is ever sure to be a face."""
    threshold = tools.settings.det_threshold
    found = finding.doubtful(
        tools.detector, frame.pixels, threshold, known, tools.second
    )
    return [
        Sighting(dataclasses.replace(place, score=min(place.score, threshold)), None)
        for place in found
    ]


def _sightings(tools: Tools, frame: Frame, is_close: bool) -> list[Sighting]:
    detections = _detections(tools, frame, is_close)
    shaped = [d for d in detections if finding.is_face_shaped(d.landmarks)]
    vectors = {}
    if shaped:
        landmarks = np.stack([d.landmarks for d in shaped])
        embeddings = tools.recognizers[0]([frame.pixels] * len(shaped), landmarks)
        vectors = dict(zip(map(id, shaped), embeddings, strict=True))
    return [Sighting(d, vectors.get(id(d))) for d in detections]


def _detections(tools: Tools, frame: Frame, is_close: bool) -> list[Detection]:
    """Faces of a frame, with a score above half the threshold.

    One without a sure face gets the closer look that photos get, since it may be
    written unchanged.
    """
    threshold = tools.settings.det_threshold
    look = finding.look if is_close else _glance
    found = look(tools.detector, frame.pixels, threshold / 2)
    if any(face.score > threshold for face in found):
        return found
    if not is_close and finding.is_tiled(frame.pixels):
        return found
    closer = finding.find_faces(tools.detector, frame.pixels, threshold)
    return closer + [
        face
        for face in found
        if not any(finding.is_same_face(face.box, other.box) for other in closer)
    ]


def _glance(detector: finding.Detector, image, threshold: float) -> list[Detection]:
    """A look without tiles."""
    return detector(image, threshold)
