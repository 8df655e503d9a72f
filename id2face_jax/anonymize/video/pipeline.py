"""Faces of a video: tracked, each with one new identity, verified frame by frame.

Two passes, so that no more than a batch of frames is in memory. The first finds and
embeds faces and keeps nothing else (about a kilobyte a face and frame); tracks follow
from it, and tracks that look alike are one person. The second decodes again and takes
every frame through the same steps as a picture, with noise, identity and the
embedding to avoid shared along a person's tracks; where a face was lost, its place is
covered. Leaves containers to `container`, the first pass to `scan`, tracks to
`tracks`, lost faces to `occlusion`, and what is said of the result to `report`.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm
from jaxtyping import Float

from id2face_jax.anonymize.identity import gallery, keys
from id2face_jax.anonymize.pipeline import pipeline
from id2face_jax.anonymize.pipeline.anonymizer import Chooser, Namer
from id2face_jax.anonymize.pipeline.canvas import Canvas
from id2face_jax.anonymize.pipeline.face import Face, Picture
from id2face_jax.anonymize.pipeline.pipeline import Tools
from id2face_jax.anonymize.video import container, occlusion, scan, tracks
from id2face_jax.anonymize.video.container import Frame
from id2face_jax.anonymize.video.options import VideoOptions
from id2face_jax.anonymize.video.report import Flicker, Tally
from id2face_jax.anonymize.video.scan import Scan
from id2face_jax.anonymize.video.tracks import Track
from id2face_jax.faces import align, finding
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
class VideoIdentities:
    """Whose faces a video shows: tracks, their smooth detections, and their people.

    And where they may be, though nobody saw them, or nobody is sure.
    """

    tracks: list[Track]
    detections: list[list[Detection]]
    people: list[Person]  # one a track; tracks of one person share it
    covers: list[occlusion.Cover]
    doubts: list[occlusion.Doubt]
    rate: float  # frames a second

    def at(self, index: int) -> list[int]:
        """The tracks that cover a frame."""
        return [i for i, t in enumerate(self.tracks) if t.start <= index < t.end]

    def covers_at(self, index: int) -> list[occlusion.Cover]:
        """The places to cover in a frame."""
        return [cover for cover in self.covers if cover.start <= index < cover.stop]

    def places_at(self, index: int) -> list[Detection]:
        """The places of a frame that may show a face and are part of no known one."""
        known = [
            self.detections[i][index - self.tracks[i].start] for i in self.at(index)
        ]
        found = [doubt.at(index) for doubt in self.doubts if doubt.covers(index)]
        return [place for place in found if not finding.is_part(place, known)]


def identify(
    tools: Tools, path: pathlib.Path, options: VideoOptions, seen: Scan
) -> VideoIdentities:
    """Tracks of what was seen, and people of the tracks that look alike."""
    threshold, span = tools.recognizers[0].threshold, options.span
    rate = float(container.rate(path))
    max_gap = round(_MAX_GAP_SECONDS * rate)
    found = tracks.link(seen.sightings, max_gap, least_cosine=threshold / 2)
    least = max(finding.SURE, tools.settings.det_threshold)
    linked = [track for track in found if track.score >= least]
    weak = [track for track in found if track.score < least]
    weak += tracks.link(seen.places, 2 * seen.step, least_cosine=0.0)
    digests = _digests(tools, scan.again(path, span, seen.times), linked)
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
    smooth = [tracks.filled(track) for track in linked]
    starts = occlusion.scenes(seen.thumbnails)
    line = occlusion.Timeline(len(seen.times), rate, seen.size, starts, options.hold)
    covers = occlusion.covers(linked, smooth, everyone, line)
    doubts = occlusion.doubts(weak, seen.step, line)
    return VideoIdentities(linked, smooth, everyone, covers, doubts, rate)


def _digests(
    tools: Tools, frames: Iterator[Frame], linked: Sequence[Track]
) -> list[bytes]:
    """Of each track's crop in the frame of its best sighting."""
    wanted: dict[int, list[int]] = {}
    for row, track in enumerate(linked):
        wanted.setdefault(track.best, []).append(row)
    digests = [b""] * len(linked)
    for index, frame in enumerate(frames if linked else ()):
        for row in wanted.get(index, ()):
            best = linked[row].sightings[index - linked[row].start]
            landmarks = best.detection.landmarks
            # A face whose points fix no crop is blurred and needs no identity.
            if finding.is_face_shaped(landmarks):
                size, geometry = tools.generator.size, tools.generator.geometry
                matrix = align.crop_matrix(landmarks, size, geometry)
                crop = align.crop(frame.pixels, matrix, size)
                digests[row] = keys.face_digest(crop)
    return digests


@dataclasses.dataclass(frozen=True)
class Changed:
    """A frame in work, later with its new pixels.

    Attributes:
      index: its number.
      frame: as it came.
      picture: its first faces are those of the tracks in `rows`; more may follow that
        only this frame shows.
      rows: tracks whose faces are in it.
      covers: the places where there may be a face that nobody saw.
    """

    index: int
    frame: Frame
    picture: Picture
    rows: list[int]
    covers: list[occlusion.Cover]

    @property
    def new_frame(self) -> Frame:
        return dataclasses.replace(self.frame, pixels=self.picture.canvas.current)


def changed_frames(
    tools: Tools,
    frames: Iterator[Frame],
    known: VideoIdentities,
    kept: frozenset[int],
) -> Iterator[Changed]:
    """The second pass: each frame, changed.

    Faces of the tracks in `kept` stay, where they are surely theirs.
    """
    batch: list[Changed] = []
    for index, frame in enumerate(frames):
        rows = known.at(index)
        faces = [Face(known.detections[i][index - known.tracks[i].start]) for i in rows]
        picture = Picture(Canvas(frame.pixels), faces, known.places_at(index))
        covers = [cover for cover in known.covers_at(index) if cover.row not in kept]
        batch.append(Changed(index, frame, picture, rows, covers))
        if len(batch) == _BATCH:
            yield from _changed(tools, known, kept, batch)
            batch = []
    yield from _changed(tools, known, kept, batch)


def _changed(
    tools: Tools,
    known: VideoIdentities,
    kept: frozenset[int],
    batch: Sequence[Changed],
) -> Iterator[Changed]:
    pictures = [item.picture for item in batch]
    pipeline.prepare(tools, [(picture, picture.faces) for picture in pictures])
    for item in batch:
        for face, row in zip(item.picture.faces, item.rows, strict=True):
            person = known.people[row]
            face.digest = person.digest or face.digest
            face.person = person.name
            if row in kept and _is_surely(tools, face, person):
                face.state = "kept"
            if person.avoids is not None and face.avoids is not None:
                face.avoids = person.avoids
    pipeline.finish(tools, pictures)
    for item in batch:
        for cover in item.covers:
            scale = cover.scale(item.index, known.rate) * tools.settings.mask_scale
            item.picture.canvas.cover(cover.box, scale)
        item.picture.covered = item.picture.places
        for place in item.picture.covered:
            item.picture.canvas.cover(place.box, tools.settings.mask_scale)
        yield item


def _is_surely(tools: Tools, face: Face, person: Person) -> bool:
    """Whether this frame, too, shows the person: a track may go astray to another."""
    if face.embeddings is None or person.avoids is None:
        return False
    cosine = float(face.embeddings[0] @ person.avoids)
    return cosine >= tools.recognizers[0].threshold


def assign(
    known: VideoIdentities, namer: Namer | None, chooser: Chooser | None
) -> tuple[VideoIdentities, frozenset[int]]:
    """The identities with names, and the tracks whose faces stay as they are.

    A track stays only if the chooser says so of it and of its person: similarity may
    have put another's track with that person's.
    """
    unique = list({person.digest: person for person in known.people}.values())
    clearest = {
        person.digest: max(
            (
                t.sightings[t.best - t.start].detection
                for t in _tracks_of(known, person)
            ),
            key=lambda detection: detection.area,
        )
        for person in unique
    }
    unique.sort(key=lambda person: (-clearest[person.digest].area, person.digest))
    faces = [_face_of(clearest[p.digest], p.avoids, p.digest) for p in unique]
    names = namer(faces) if namer is not None else [None] * len(faces)
    named = {
        person.digest: dataclasses.replace(person, name=name)
        for person, name in zip(unique, names, strict=True)
    }
    people = [named[person.digest] for person in known.people]
    if chooser is None:
        return dataclasses.replace(known, people=people), frozenset()
    of_people = dict(zip(named, chooser(faces), strict=True))
    of_tracks = chooser(
        [
            _face_of(track.sightings[track.best - track.start].detection, vector, b"")
            for track, vector in ((track, track.embedding) for track in known.tracks)
        ]
    )
    kept = (
        row
        for row, (person, changes) in enumerate(zip(people, of_tracks, strict=True))
        if not changes and not of_people[person.digest]
    )
    return dataclasses.replace(known, people=people), frozenset(kept)


def _face_of(
    detection: Detection, embedding: Float[np.ndarray, " d"] | None, digest: bytes
) -> Face:
    vectors = None if embedding is None else (embedding,)
    return Face(detection, embeddings=vectors, digest=digest)


def _tracks_of(known: VideoIdentities, person: Person) -> list[Track]:
    pairs = zip(known.tracks, known.people, strict=True)
    return [track for track, owner in pairs if owner.digest == person.digest]


def anonymize(
    tools: Tools,
    source: pathlib.Path,
    part: pathlib.Path,
    suffix: str,
    options: VideoOptions,
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
    seen = scan.scan(tools, source, options.span, quiet)
    known, kept = assign(identify(tools, source, options, seen), namer, chooser)
    frames = tqdm.tqdm(
        scan.again(source, options.span, seen.times),
        "frames changed",
        len(seen.times),
        unit="frame",
        disable=quiet,
    )
    tally, flicker = Tally(), Flicker(tools)
    with container.Writer(
        part, source, options.span, suffix=suffix, audio=options.audio
    ) as writer:
        for item in changed_frames(tools, iter(frames), known, kept):
            seconds = item.frame.seconds
            if item.picture.state == "refused":
                raise ValueError(f"a face at {seconds:.2f} s could not be hidden")
            tally.show(item.frame, known.rate)
            tally.add(item.picture, item.rows, {cover.row for cover in item.covers})
            tally.doubt(item.picture, seconds, tools.settings.det_threshold)
            flicker.add(item.picture, item.rows)
            writer.write(item.new_frame)
    if tally.num_frames != len(seen.times):
        raise RuntimeError(f"{source.name}: frames were searched and not written")
    end = container.end_of(source) if options.span.end is None else 0.0
    remarks = tally.remarks(end)
    if writer.is_padded:
        remarks.append("a line of pixels is repeated, for H.264 wants even sizes")
    if further := container.further_pictures(source):
        remarks.append(f"further picture tracks are left out: {', '.join(further)}")
    return tally, flicker.record(), "; ".join(remarks)
