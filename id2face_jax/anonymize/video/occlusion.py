"""Faces that a video loses: their place stays covered, since they may still be there.

The detector loses a face that turns to profile, or into the dark, long before nobody
could know it. So its place is blurred for a second before it is first seen and after it
was last seen; and if it surely was a face and did not leave the picture, until it is
found again, another face is found there, or the scene ends. What only may be a face is
covered while it is seen. Owns those rules, and where scenes end. Leaves pixels to
`canvas`, tracks to `tracks`.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.anonymize.video import tracks
from id2face_jax.anonymize.video.tracks import Track
from id2face_jax.faces.detect import Detection

# A face that was surely one: its best score, and in how many frames it was seen.
_SURE_SCORE, _SURE_SIGHTINGS = 0.5, 3
# Seconds: covered in any case; if it came or went over the border; of which the speed.
_LEAST, _AT_BORDER, _SPEED = 1.0, 0.25, 0.25
# Share of its side by which a face that leaves the picture sticks out of it.
_OUT = 0.15
# The cover's side grows by the face's own in a second, up to this.
_MOST_SCALE = 2.0
_THUMBNAIL = (16, 9)
# Mean gray levels between two frames of different scenes. High: to overlook a cut is to
# cover too long.
_CUT = 30.0


@dataclasses.dataclass(frozen=True)
class Cover:
    """A place that is blurred in the frames from `start` to before `stop`.

    Attributes:
      row: of the track that was lost.
      box: where its face was.
      seen: the frame in which it was there.
    """

    row: int
    box: Float[np.ndarray, "4"]
    start: int
    stop: int
    seen: int

    def scale(self, index: int, rate: float) -> float:
        """How much larger than the face it is in a frame; rate: frames a second."""
        return min(1.0 + abs(index - self.seen) / rate, _MOST_SCALE)


def thumbnail(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "9 16 3"]:
    """What `scenes` compares."""
    return cv2.resize(pixels, _THUMBNAIL, interpolation=cv2.INTER_AREA)


def scenes(thumbnails: Sequence[UInt8[np.ndarray, "9 16 3"]]) -> list[int]:
    """The first frame of each scene, from frame 0 on.

    A flash is none: after it the picture is as it was before. So no frame of the two
    before a cut is like one of the two after it.
    """
    starts = [0]
    for index in range(1, len(thumbnails)):
        before = thumbnails[max(index - 2, 0) : index]
        after = thumbnails[index : index + 2]
        if all(_difference(old, new) > _CUT for old in before for new in after):
            starts.append(index)
    return starts


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


@dataclasses.dataclass(frozen=True)
class Timeline:
    """What the covers of a video depend on, besides its tracks.

    Attributes:
      num_frames, rate: of the video; rate in frames a second.
      size: width and height.
      starts: of scenes; see `scenes`.
      hold: seconds that a cover lasts at most; None is no limit.
    """

    num_frames: int
    rate: float
    size: tuple[int, int]
    starts: Sequence[int]
    hold: float | None = None

    def scene(self, index: int) -> tuple[int, int]:
        """The first frame of the scene of a frame, and the frame after its last."""
        number = bisect.bisect_right(self.starts, index)
        after = [*self.starts, self.num_frames][number]
        return self.starts[number - 1], after

    def frames(self, seconds: float) -> int:
        """Frames in so many seconds, or in `hold` if that is less."""
        limit = seconds if self.hold is None else min(seconds, self.hold)
        return self.num_frames if limit == float("inf") else round(limit * self.rate)


def covers(
    linked: Sequence[Track],
    detections: Sequence[Sequence[Detection]],
    people: Sequence[object],
    line: Timeline,
) -> list[Cover]:
    """The covers before and after each track.

    Args:
      linked: the tracks, in the order of their first frames.
      detections: of each track, one a frame.
      people: of each track; tracks of one person have the same one.
      line: of the video.
    """
    found = []
    for row, track in enumerate(linked):
        boxes = [detection.box for detection in detections[row]]
        begin, _ = line.scene(track.start)
        seconds = _AT_BORDER if _leaves(boxes[::-1], line) else _LEAST
        start = max(begin, track.start - line.frames(seconds))
        found.append(Cover(row, boxes[0], start, track.start, track.start))
        _, end = line.scene(track.end - 1)
        stop = min(end, track.end + line.frames(_seconds_after(track, boxes, line)))
        cover = Cover(row, boxes[-1], track.end, stop, track.end - 1)
        found.append(_until_found(cover, linked, detections, people, line.rate))
    return [cover for cover in found if cover.start < cover.stop]


def _seconds_after(track: Track, boxes: Sequence[np.ndarray], line: Timeline) -> float:
    if _leaves(boxes, line):
        return _AT_BORDER
    num = sum(sighting is not None for sighting in track.sightings)
    is_sure = track.score >= _SURE_SCORE and num >= _SURE_SIGHTINGS
    return float("inf") if is_sure else _LEAST


def _leaves(boxes: Sequence[np.ndarray], line: Timeline) -> bool:
    """Whether a face that moves on as in its last boxes is soon out of the picture."""
    last = boxes[-1].astype(np.float64)
    num = min(len(boxes) - 1, max(1, round(_SPEED * line.rate)))
    expected = last + (last - boxes[-1 - num])
    side = np.maximum(last[2:] - last[:2], 1.0)
    out = np.maximum(-expected[:2], expected[2:] - line.size) / side
    return bool(np.any(out > _OUT))


def _until_found(
    cover: Cover,
    linked: Sequence[Track],
    detections: Sequence[Sequence[Detection]],
    people: Sequence[object],
    rate: float,
) -> Cover:
    """The cover up to where its person is found again, or any face in its place."""
    starts = [track.start for track in linked]  # they grow
    later = range(*(bisect.bisect_left(starts, i) for i in (cover.start, cover.stop)))
    found = (
        starts[row]
        for row in later
        if people[row] is people[cover.row]
        or _is_at(detections[row][0].box, cover, starts[row], rate)
    )
    return dataclasses.replace(cover, stop=next(found, cover.stop))


def _is_at(box: np.ndarray, cover: Cover, index: int, rate: float) -> bool:
    """Whether a box's middle lies under the cover."""
    middle = (cover.box[:2] + cover.box[2:]) / 2
    half = (cover.box[2:] - cover.box[:2]) / 2 * cover.scale(index, rate)
    return bool(np.all(np.abs((box[:2] + box[2:]) / 2 - middle) <= half))


@dataclasses.dataclass(frozen=True)
class Doubt:
    """What may be a face, over frames: covered from `start` to before `stop`.

    Attributes:
      first: the frame of its first place.
      places: one a frame from there on.
    """

    start: int
    stop: int
    first: int
    places: list[Detection]

    def covers(self, index: int) -> bool:
        """Whether its place is covered in a frame."""
        return self.start <= index < self.stop

    def at(self, index: int) -> Detection:
        """Its place in a frame; before and after it was seen, the nearest."""
        return self.places[int(np.clip(index - self.first, 0, len(self.places) - 1))]


def doubts(weak: Sequence[Track], step: int, line: Timeline) -> list[Doubt]:
    """What is to be covered of tracks that have no sure face.

    step: places are looked for every so many frames, so each is covered for as long
      before and after.
    """
    found = []
    for track in weak:
        begin, _ = line.scene(track.start)
        _, end = line.scene(track.end - 1)
        start, stop = max(begin, track.start - step), min(end, track.end + step)
        found.append(Doubt(start, stop, track.start, tracks.filled(track)))
    return found
