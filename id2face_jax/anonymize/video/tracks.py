"""Faces over time: detections of single frames to tracks without holes.

Owns what makes a video fail closed. A track begins and ends with doubtful detections,
so a face with a sure one somewhere is hidden before the detector is sure of it; and
between two detections it is filled in. Points are smoothed over time, since a crop that
trembles makes a face that flickers. Leaves frames to `pipeline`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from id2face_jax.faces.boxes import overlap
from id2face_jax.faces.detect import Detection

_LEAST_OVERLAP = 0.25  # of two boxes of a face in neighboring frames
_SIGMA = 1.5  # frames, of the smoothing
# Share of the face's size by which smoothing may move a point: fast faces stay covered.
_MAX_MOVE = 0.04


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A detection in a frame, and its face's embedding, if it has one."""

    detection: Detection
    embedding: Float[np.ndarray, " d"] | None


@dataclasses.dataclass
class Track:
    """One face over consecutive frames.

    Attributes:
      start: its first frame.
      sightings: one a frame; None where the detector saw nothing.
    """

    start: int
    sightings: list[Sighting | None]

    @property
    def end(self) -> int:
        """The frame after its last."""
        return self.start + len(self.sightings)

    @property
    def score(self) -> float:
        """Of its best sighting."""
        return max(s.detection.score for s in self.sightings if s is not None)

    @property
    def best(self) -> int:
        """The frame of its best sighting; of those with an embedding, if any."""
        ranks = [
            (False, -1.0) if s is None else (s.embedding is not None, s.detection.score)
            for s in self.sightings
        ]
        return self.start + ranks.index(max(ranks))

    @property
    def embedding(self) -> Float[np.ndarray, " d"] | None:
        """The unit mean of its sightings' embeddings."""
        vectors = [s.embedding for s in self.sightings if s is not None]
        vectors = [vector for vector in vectors if vector is not None]
        if not vectors:
            return None
        mean = np.mean(vectors, axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-6)


def link(
    frames: Sequence[Sequence[Sighting]],
    max_gap: int,
    least_cosine: float,
) -> list[Track]:
    """The tracks of a video, in the order of their first frames.

    Args:
      frames: for each frame its sightings, doubtful ones too.
      max_gap: frames over which a face may be lost and found again.
      least_cosine: below it, what is at the same place is another person: a cut.
    """
    tracks: list[Track] = []
    open_tracks: list[Track] = []
    for index, sightings in enumerate(frames):
        open_tracks = [t for t in open_tracks if index - t.end <= max_gap]
        pairs = [
            (_similarity(track, sighting, index, least_cosine), i, j)
            for i, track in enumerate(open_tracks)
            for j, sighting in enumerate(sightings)
        ]
        used_tracks, used_sightings = set(), set()
        for similarity, i, j in sorted(pairs, reverse=True):
            if similarity > 0 and i not in used_tracks and j not in used_sightings:
                used_tracks.add(i)
                used_sightings.add(j)
                track = open_tracks[i]
                track.sightings += [None] * (index - track.end) + [sightings[j]]
        new = [
            Track(index, [sighting])
            for j, sighting in enumerate(sightings)
            if j not in used_sightings
        ]
        open_tracks, tracks = open_tracks + new, tracks + new
    return tracks


def _similarity(
    track: Track, sighting: Sighting, index: int, least_cosine: float
) -> float:
    """How well a sighting continues a track; 0 if it does not.

    The longer the face was lost, the farther it may have moved.
    """
    last = track.sightings[-1]
    known = (last.embedding, sighting.embedding)
    if all(e is not None for e in known) and float(known[0] @ known[1]) < least_cosine:
        return 0.0
    box, other = last.detection.box, sighting.detection.box
    over_union, _ = overlap(box, other)
    if over_union > _LEAST_OVERLAP:
        return 1.0 + over_union
    lost = index - track.end
    if lost == 0:
        return 0.0
    size = float(np.sqrt(np.prod(box[2:] - box[:2])))
    ratio = float(np.sqrt(np.prod(other[2:] - other[:2]))) / max(size, 1e-6)
    moved = float(np.linalg.norm((box[:2] + box[2:] - other[:2] - other[2:]) / 2))
    reach = size * min(0.3 * (lost + 1), 2.0)
    return max(0.0, 1 - moved / reach) if 0.6 < ratio < 1.7 else 0.0


def filled(track: Track) -> list[Detection]:
    """A detection for every frame of a track, smooth in time.

    Where the detector saw nothing, boxes and points run straight from the sighting
    before to the one after, with score 0.
    """
    seen = [i for i, s in enumerate(track.sightings) if s is not None]
    found = [track.sightings[i].detection for i in seen]
    rows = np.arange(len(track.sightings))
    boxes = _between(rows, seen, np.stack([d.box for d in found]))
    points = _between(rows, seen, np.stack([d.landmarks for d in found]))
    size = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1))
    points = _smooth(points, size[:, None, None] * _MAX_MOVE)
    scores = dict(zip(seen, (d.score for d in found), strict=True))
    return [
        Detection(
            boxes[i].astype(np.float32),
            scores.get(i, 0.0),
            points[i].astype(np.float32),
        )
        for i in rows.tolist()
    ]


def _between(rows, seen: list[int], values: np.ndarray) -> np.ndarray:
    """Values at `seen` rows, and on straight lines between them."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    columns = [np.interp(rows, seen, column) for column in flat.T]
    return np.stack(columns, axis=1).reshape(len(rows), *values.shape[1:])


def _smooth(values: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Values averaged over time, none moved by more than `most`."""
    # Here, and not above: photos need none of it, and it would slow every start.
    from scipy import ndimage

    moved = ndimage.gaussian_filter1d(values, _SIGMA, axis=0, mode="nearest") - values
    return values + np.clip(moved, -most, most)
