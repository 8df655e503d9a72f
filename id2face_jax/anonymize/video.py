"""Faces of a video: tracked, each with one new identity, verified frame by frame.

Two passes, so that memory does not grow with the length. The first finds and embeds
faces and keeps nothing else; tracks follow from it, and tracks that look alike are one
person. The second decodes again and takes every frame through the same `rounds` as a
picture, with noise, identity and the embedding to avoid shared along a person's tracks.
Leaves containers to `video_files` and tracks to `tracks`.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm
from jaxtyping import Float

from id2face_jax.anonymize import (
    finding,
    gallery,
    keys,
    report,
    rounds,
    tracks,
    verify,
    video_files,
)
from id2face_jax.anonymize.anonymizer import Chooser, Namer
from id2face_jax.anonymize.canvas import Canvas
from id2face_jax.anonymize.rounds import Tools
from id2face_jax.anonymize.subject import Face, Picture
from id2face_jax.anonymize.tracks import Sighting, Track
from id2face_jax.anonymize.video_files import Frame, Span
from id2face_jax.faces import align
from id2face_jax.faces.detect import Detection

_MAX_GAP_SECONDS = 1.0  # a face may be lost for so long and still be filled in
_BATCH = 8  # frames in work at once


@dataclasses.dataclass(frozen=True)
class Person:
    """What the tracks of one person share.

    Attributes:
      digest: of the clearest crop; noise and identity follow from it.
      avoids: mean embedding; None if no frame shows the face well enough.
      name: of the keyed identity, where there is one.
    """

    digest: bytes
    avoids: Float[np.ndarray, " d"] | None
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Cast:
    """Who is in a video: tracks, their smooth detections, and whose they are."""

    tracks: list[Track]
    detections: list[list[Detection]]
    people: list[Person]  # one a track; tracks of one person share it

    def at(self, index: int) -> list[int]:
        """The tracks that cover a frame."""
        return [i for i, t in enumerate(self.tracks) if t.start <= index < t.end]


def scan(
    tools: Tools, path: pathlib.Path, span: Span, quiet: bool = False
) -> list[list[Sighting]]:
    """The first pass: what is seen in each frame, doubtful faces too.

    Where nothing at all is seen, every frame gets the second look of `finding`.
    """
    threshold = tools.settings.det_threshold
    for find in (finding.look, finding.find_faces):
        found = []
        for frame in tqdm.tqdm(
            video_files.frames(path, span), "faces", unit="frame", disable=quiet
        ):
            found.append(_sightings(tools, frame, find, threshold / 2))
        if any(found) or not found:
            break
    if not found:
        raise ValueError(f"{path.name} has no frame in the span, or breaks off")
    return found


def _sightings(tools: Tools, frame: Frame, find, threshold: float) -> list[Sighting]:
    detections = find(tools.detector, frame.pixels, threshold)
    shaped = [d for d in detections if verify.is_face_shaped(d.landmarks)]
    vectors = {}
    if shaped:
        landmarks = np.stack([d.landmarks for d in shaped])
        embeddings = tools.recognizers[0]([frame.pixels] * len(shaped), landmarks)
        vectors = dict(zip(map(id, shaped), embeddings, strict=True))
    return [Sighting(d, vectors.get(id(d))) for d in detections]


def cast(
    tools: Tools, path: pathlib.Path, span: Span, found: Sequence[Sequence[Sighting]]
) -> Cast:
    """Tracks of what was seen, and people of the tracks that look alike."""
    threshold = tools.recognizers[0].threshold
    max_gap = round(_MAX_GAP_SECONDS * float(video_files.rate(path)))
    linked = tracks.link(
        found, tools.settings.det_threshold, max_gap, least_cosine=threshold / 2
    )
    digests = _digests(tools, path, span, linked)
    people: list[Person | None] = [None] * len(linked)
    means = [track.embedding for track in linked]
    known = [i for i, mean in enumerate(means) if mean is not None]
    for group in gallery.groups([means[i] for i in known], threshold):
        rows = [known[i] for i in group]
        mean = np.mean([means[i] for i in rows], axis=0)
        clearest = max(rows, key=lambda i: (linked[i].score, -i))
        person = Person(digests[clearest], mean / max(np.linalg.norm(mean), 1e-6))
        for row in rows:
            people[row] = person
    everyone = [
        Person(digests[i], None) if person is None else person
        for i, person in enumerate(people)
    ]
    return Cast(linked, [tracks.filled(track) for track in linked], everyone)


def _digests(tools: Tools, path, span: Span, linked: Sequence[Track]) -> list[bytes]:
    """Of each track's crop in the frame of its best sighting."""
    wanted: dict[int, list[int]] = {}
    for row, track in enumerate(linked):
        wanted.setdefault(track.best, []).append(row)
    digests = [b""] * len(linked)
    frames = video_files.frames(path, span) if linked else ()
    for index, frame in enumerate(frames):
        for row in wanted.get(index, ()):
            best = linked[row].sightings[index - linked[row].start]
            landmarks = best.detection.landmarks
            # A face whose points fix no crop is blurred and needs no identity.
            if verify.is_face_shaped(landmarks):
                matrix = align.crop_matrix(landmarks, tools.generator.size)
                crop = align.crop(frame.pixels, matrix, tools.generator.size)
                digests[row] = keys.face_digest(crop)
    return digests


def changed_frames(
    tools: Tools,
    path: pathlib.Path,
    span: Span,
    who: Cast,
    kept: frozenset[int],
    quiet: bool = False,
) -> Iterator[tuple[Frame, Picture, list[int]]]:
    """The second pass: each frame with new pixels, its picture, and whose faces.

    The picture's first faces are those of the tracks given; more may follow that only
    this frame shows. Faces of the tracks in `kept` stay.
    """
    batch: list[tuple[Frame, Picture, list[int]]] = []
    length = max((track.end for track in who.tracks), default=0)
    for index, frame in enumerate(
        tqdm.tqdm(
            video_files.frames(path, span), "new", length, unit="frame", disable=quiet
        )
    ):
        rows = who.at(index)
        faces = [Face(who.detections[i][index - who.tracks[i].start]) for i in rows]
        batch.append((frame, Picture(Canvas(frame.pixels), faces), rows))
        if len(batch) == _BATCH:
            yield from _changed(tools, who, kept, batch)
            batch = []
    yield from _changed(tools, who, kept, batch)


def _changed(tools: Tools, who: Cast, kept: frozenset[int], batch) -> Iterator:
    pictures = [picture for _, picture, _ in batch]
    rounds.prepare(tools, [(picture, picture.faces) for picture in pictures])
    for _, picture, rows in batch:
        for face, row in zip(picture.faces, rows, strict=True):
            person = who.people[row]
            face.digest = person.digest or face.digest
            face.person = person.name
            face.state = "kept" if row in kept else None
            if person.avoids is not None and face.avoids is not None:
                face.avoids = person.avoids
    rounds.finish(tools, pictures)
    for frame, picture, rows in batch:
        new = dataclasses.replace(frame, pixels=picture.canvas.current)
        yield new, picture, rows


@dataclasses.dataclass
class Tally:
    """What the report says of a video, gathered frame by frame.

    Attributes:
      faces: the worst of each track, and of faces that only one frame shows.
      frames: how many each has.
      blurred: how many of them are blurred.
    """

    faces: dict[int, Face] = dataclasses.field(default_factory=dict)
    frames: dict[int, int] = dataclasses.field(default_factory=dict)
    blurred: dict[int, int] = dataclasses.field(default_factory=dict)
    num_frames: int = 0

    def add(self, picture: Picture, rows: Sequence[int]) -> None:
        """Counts one frame."""
        alone = [-1 - self.num_frames] * (len(picture.faces) - len(rows))
        for row, face in zip([*rows, *alone], picture.faces, strict=True):
            worst = self.faces.get(row)
            if worst is None or _badness(face) > _badness(worst):
                self.faces[row] = face
            self.frames[row] = self.frames.get(row, 0) + 1
            is_blurred = face.state == "fallback"
            self.blurred[row] = self.blurred.get(row, 0) + is_blurred
        self.num_frames += 1

    @property
    def state(self) -> str:
        """Of the video: the worst of its frames'."""
        states = {face.state for face in self.faces.values()}
        worst = (s for s in ("refused", "fallback", "anonymized") if s in states)
        return next(worst, "no_face")

    def records(self) -> list[dict]:
        """Faces as in the report, each with its frames."""
        return [
            {
                **report.face_record(face),
                "frames": self.frames[row],
                "blurred_frames": self.blurred[row],
            }
            for row, face in sorted(self.faces.items(), key=lambda item: item[0] < 0)
        ]


def _badness(face: Face) -> tuple[int, float]:
    order = ("kept", "anonymized", "fallback", "refused")
    cosine = face.cosine
    return order.index(face.state), -1.0 if cosine is None else cosine


class Flicker:
    """How steady the new faces are, beside the steadiness of the source.

    Between neighbouring frames of a track: `drift`, one minus the cosine of the
    embeddings, and `warp`, the mean absolute difference of the aligned crops, in grey
    levels of 255, inside of the mask.
    """

    def __init__(self, tools: Tools):
        self._tools = tools
        self._last: dict[int, tuple] = {}
        self._steps: list[tuple[float, float, float, float]] = []

    def add(self, picture: Picture, rows: Sequence[int]) -> None:
        """Compares a frame with the one before."""
        shown = {}
        for row, face in zip(rows, picture.faces, strict=False):
            if face.state == "anonymized" and face.embeddings is not None:
                shown[row] = self._view(picture, face)
        for row, now in shown.items():
            if row in self._last:
                self._steps.append(_step(self._last[row], now))
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
        if not self._steps:
            return None
        names = ("drift_source", "drift", "warp_source", "warp")
        means = np.mean(self._steps, axis=0)
        return {n: round(float(m), 4) for n, m in zip(names, means, strict=True)}


def _step(before: tuple, now: tuple) -> tuple[float, float, float, float]:
    drifts = [1.0 - float(before[i] @ now[i]) for i in (0, 1)]
    weight = np.minimum(before[4], now[4])[..., None]
    warps = [
        float(np.sum(weight * np.abs(before[i] - now[i])) / (3 * np.sum(weight) + 1e-6))
        for i in (2, 3)
    ]
    return (*drifts, *warps)


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a user chooses about videos: the span, and whether sound is kept."""

    span: Span = Span()
    audio: bool = True


def meet(
    who: Cast, namer: Namer | None, chooser: Chooser | None
) -> tuple[Cast, frozenset[int]]:
    """The cast with names, and the tracks whose faces stay as they are."""
    unique = list({person.digest: person for person in who.people}.values())
    clearest = {
        person.digest: max(
            (t.sightings[t.best - t.start].detection for t in _tracks_of(who, person)),
            key=lambda detection: detection.area,
        )
        for person in unique
    }
    unique.sort(key=lambda person: (-clearest[person.digest].area, person.digest))
    faces = [
        Face(
            clearest[person.digest],
            embeddings=None if person.avoids is None else (person.avoids,),
            digest=person.digest,
        )
        for person in unique
    ]
    names = namer(faces) if namer is not None else [None] * len(faces)
    changes = chooser(faces) if chooser is not None else [True] * len(faces)
    by_digest = {
        person.digest: (dataclasses.replace(person, name=name), changed)
        for person, name, changed in zip(unique, names, changes, strict=True)
    }
    people = [by_digest[person.digest][0] for person in who.people]
    kept = (i for i, p in enumerate(who.people) if not by_digest[p.digest][1])
    return dataclasses.replace(who, people=people), frozenset(kept)


def _tracks_of(who: Cast, person: Person) -> list[Track]:
    pairs = zip(who.tracks, who.people, strict=True)
    return [track for track, owner in pairs if owner.digest == person.digest]


def anonymize(
    tools: Tools,
    source: pathlib.Path,
    part: pathlib.Path,
    suffix: str,
    wishes: Wishes,
    *,
    namer: Namer | None = None,
    chooser: Chooser | None = None,
    quiet: bool = False,
) -> tuple[Tally, dict | None, str]:
    """Writes the anonymized video to `part`.

    Returns what the report says of its faces, their flicker, and a remark.

    Args:
      source: the video.
      part: file to write.
      suffix: of the output, which decides its kind.
      namer, chooser: whose faces, and which; they get one face a person.

    Raises ValueError at the first frame in which a face could not be hidden.
    """
    who = cast(tools, source, wishes.span, scan(tools, source, wishes.span, quiet))
    who, kept = meet(who, namer, chooser)
    tally, flicker, seconds = Tally(), Flicker(tools), 0.0
    with video_files.Writer(
        part, source, wishes.span, suffix=suffix, audio=wishes.audio
    ) as writer:
        for frame, picture, rows in changed_frames(
            tools, source, wishes.span, who, kept, quiet
        ):
            if picture.state == "refused":
                raise ValueError(f"a face at {frame.seconds:.2f} s could not be hidden")
            tally.add(picture, rows)
            flicker.add(picture, rows)
            writer.write(frame)
            seconds = frame.seconds
    whole = video_files.duration(source)
    remark = ""
    if wishes.span.end is None and seconds + _MAX_GAP_SECONDS < whole:
        remark = f"the video breaks off at {seconds:.1f} of {whole:.1f} s"
    return tally, flicker.record(), remark
