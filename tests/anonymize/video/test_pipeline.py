"""Videos: no frame with an original face, and time, sound and size as they were."""

import dataclasses
import itertools
import pathlib

import av
import numpy as np
import pytest

from id2face_jax.anonymize.batch import discovery, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.anonymize.video import container, pipeline, tracks
from id2face_jax.anonymize.video.container import Span
from id2face_jax.anonymize.video.options import VideoOptions
from id2face_jax.anonymize.video.tracks import Sighting
from id2face_jax.faces.detect import Detection
from tests.anonymize import planted
from tests.anonymize.clips import (
    NUM_FRAMES,
    RATE,
    number_of,
    read_clip,
    scene,
    sound_of,
    write_clip,
)


def make_anonymizer(function=planted.other_face, detector=None, **settings):
    return Anonymizer(
        planted.PlantedGenerator(function),
        [planted.PlantedRecognizer()],
        detector or planted.PlantedDetector(),
        FaceOptions(**settings),
    )


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_clip(tmp_path / "clip.mp4")


def run(source, out="out", anonymizer=None, people=None, **options):
    """The record of one video run through `runner`."""
    ledger = state.Ledger(pathlib.Path("report.json"))
    (record,) = runner.run(
        anonymizer or make_anonymizer(),
        discovery.plan([source], out),
        ledger,
        FileOptions(**options),
        people or People(),
        quiet=True,
    )
    ledger.close()
    return record


def face_of(pixels):
    return pixels[60:120, 70:130].astype(int)


def is_original(pixels):
    """Whether it shows the planted face, upright and unchanged but for coding."""
    return np.abs(face_of(pixels) - face_of(planted.picture(0))).mean() < 15


def test_every_frame_is_changed_and_all_else_is_kept(clip):
    anonymizer = make_anonymizer()
    record = run(clip, anonymizer=anonymizer)
    assert record.state == "anonymized" and record.frames == NUM_FRAMES
    (face,) = record.faces
    assert face["frames"] == NUM_FRAMES and face["blurred_frames"] == 0
    before, times = read_clip(clip)
    after, new_times = read_clip("out/clip.mp4")
    assert new_times == pytest.approx(times) and sound_of("out/clip.mp4")
    assert sound_of("out/clip.mp4") == sound_of(clip)
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        assert old.shape == new.shape and number_of(new) == index
        assert np.abs(face_of(old) - face_of(new)).mean() > 40
    # One identity and one noise for the whole track.
    asked = anonymizer.tools.generator.requests
    assert sum(len(r) for r in asked) == NUM_FRAMES
    assert len({row.tobytes() for r in asked for row in r.latents}) == 1
    assert len({int(seed) for r in asked for seed in r.seeds}) == 1
    assert len({row.tobytes() for r in asked for row in r.embeddings}) == 1


class Blinking(planted.PlantedDetector):
    """Misses the face, or is in doubt, in frames of some numbers.

    dim: numbers of frames in which only the second look finds it.
    """

    def __init__(self, blind=(), doubtful=(), dim=()):
        super().__init__()
        self._blind, self._doubtful = set(blind), set(doubtful)
        self._dim, self._looked_at = set(dim), set()

    def __call__(self, image, threshold):
        found = super().__call__(image, threshold)
        if image.shape != (200, 220, 3):
            return found
        if number_of(image) in self._blind or not is_original(image):
            return []
        if number_of(image) in self._dim - self._looked_at:
            self._looked_at.add(number_of(image))
            return []
        if number_of(image) in self._doubtful:
            return [self.doubt(found[0])] if threshold < 0.15 else []
        return found

    @staticmethod
    def doubt(face):
        return type(face)(face.box, 0.15, face.landmarks)


@pytest.mark.parametrize(
    "detector",
    [
        Blinking(blind=(4, 5, 6)),
        Blinking(doubtful=(0, 1, 2, 11)),
        Blinking(dim=(0, 8, 9, 10, 11)),
    ],
    ids=["lost", "doubtful", "only at a closer look"],
)
def test_no_frame_slips_through(clip, detector):
    record = run(clip, anonymizer=make_anonymizer(detector=detector))
    assert record.state == "anonymized"
    before, _ = read_clip(clip)
    after, _ = read_clip("out/clip.mp4")
    for old, new in zip(before, after, strict=True):
        assert np.abs(face_of(old) - face_of(new)).mean() > 40


def test_place_of_a_lost_face_is_covered_to_the_end(clip):
    detector = Blinking(blind=range(5, NUM_FRAMES))
    record = run(clip, anonymizer=make_anonymizer(detector=detector))
    assert record.state == "fallback"
    assert record.faces[0]["covered_frames"] == NUM_FRAMES - 5
    assert "7 frames cover places of lost faces" in record.message
    assert not any(is_original(pixels) for pixels in read_clip("out/clip.mp4")[0])
    record = run(
        clip,
        anonymizer=make_anonymizer(detector=detector),
        overwrite=True,
        video=VideoOptions(hold=0.2),
    )
    after, _ = read_clip("out/clip.mp4")
    assert record.faces[0]["covered_frames"] == 2
    assert [is_original(pixels) for pixels in after] == [False] * 7 + [True] * 5
    with pytest.raises(ValueError, match="hold is -1"):
        VideoOptions(hold=-1.0)


@pytest.mark.parametrize("num", [NUM_FRAMES - 1, NUM_FRAMES + 1])
def test_frames_that_were_not_searched_are_not_written(clip, monkeypatch, num):
    """As if another program wrote to the file between the passes."""
    frames, passes = container.frames, itertools.count()

    def changing(path, span):
        found = list(frames(path, span))
        if next(passes) == 2:
            extra = dataclasses.replace(found[-1], pts=found[-1].pts + 99)
            found = [*found, extra][:num]
        yield from found

    monkeypatch.setattr(container, "frames", changing)
    record = run(clip)
    assert record.state == "refused"
    assert "changed while it was read" in record.message
    assert not [path for path in pathlib.Path("out").rglob("*") if path.is_file()]


def test_face_that_is_hidden_in_no_frame_is_blurred_in_all(clip):
    record = run(clip, anonymizer=make_anonymizer(planted.pass_through, max_attempts=1))
    assert record.state == "fallback"
    assert record.faces[0]["blurred_frames"] == NUM_FRAMES
    before, _ = read_clip(clip)
    after, _ = read_clip("out/clip.mp4")
    for old, new in zip(before, after, strict=True):
        assert np.abs(face_of(old) - face_of(new)).mean() > 40


def test_refused_video_leaves_nothing(clip):
    anonymizer = make_anonymizer(planted.pass_through, on_failure="refuse")
    record = run(clip, anonymizer=anonymizer)
    assert record.state == "refused" and "could not be hidden" in record.message
    assert not [path for path in pathlib.Path("out").rglob("*") if path.is_file()]


def test_uneven_times_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    times = [0, 1, 2, 5, 6, 10, 11, 12, 13, 20, 21, 22]
    clip = write_clip(tmp_path / "vfr.mkv", times=times, sound=False)
    assert run(clip).state == "anonymized"
    _, new_times = read_clip("out/vfr.mkv")
    assert new_times == pytest.approx([t / RATE for t in times], abs=0.002)
    assert sound_of("out/vfr.mkv") is None


def test_span_writes_nothing_outside(clip):
    record = run(clip, video=VideoOptions(Span(0.3, 0.8)))
    after, times = read_clip("out/clip.mp4")
    assert record.frames == 5 and [number_of(f) for f in after] == [3, 4, 5, 6, 7]
    assert times[0] == pytest.approx(0.0, abs=0.01) and sound_of("out/clip.mp4")
    with pytest.raises(ValueError, match="--end must lie after"):
        Span(2.0, 1.0)
    empty = run(clip, overwrite=True, video=VideoOptions(Span(50.0)))
    assert empty.state == "refused" and "no frame in the span" in empty.message


def test_sound_can_be_left_out(clip):
    run(clip, video=VideoOptions(audio=False))
    assert sound_of("out/clip.mp4") is None


@pytest.mark.parametrize("suffix", [".webm", ".mov", ".mkv"])
def test_other_containers(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / f"clip{suffix}", num=4, sound=False)
    assert run(clip).state == "anonymized"
    assert len(read_clip(f"out/clip{suffix}")[0]) == 4


def test_no_face(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(
        tmp_path / "wall.mp4", 3, make=lambda i: np.full((64, 80, 3), 90, np.uint8)
    )
    assert run(clip).state == "refused"
    skipped = run(clip, on_no_face="skip")
    assert skipped.state == "no_face" and not pathlib.Path("out/wall.mp4").exists()
    assert run(clip, on_no_face="copy").state == "no_face"
    assert len(read_clip("out/wall.mp4")[0]) == 3


def test_kept_person_stays(clip):
    people = People(chooser=lambda faces: [False] * len(faces))
    record = run(clip, people=people, on_no_face="copy")
    assert record.state == "no_face" and record.faces[0]["state"] == "kept"
    before, after = read_clip(clip)[0][5], read_clip("out/clip.mp4")[0][5]
    assert np.abs(face_of(before) - face_of(after)).mean() < 10


class Turning(planted.PlantedRecognizer):
    """The planted face becomes another person's, slowly, from frame to frame."""

    def __call__(self, images, landmarks):
        vectors = np.zeros((len(images), self.dim), np.float32)
        for vector, image in zip(vectors, images, strict=True):
            angle = 0.25 * number_of(image)
            known = is_original(image)
            vector[:3] = [np.cos(angle), np.sin(angle), 0] if known else [0, 0, 1]
        return vectors


def test_kept_track_that_goes_astray_is_hidden_there(clip):
    anonymizer = Anonymizer(
        planted.PlantedGenerator(planted.other_face),
        [Turning()],
        planted.PlantedDetector(),
        FaceOptions(),
    )
    people = People(chooser=lambda faces: [False] * len(faces))
    record = run(clip, anonymizer=anonymizer, people=people)
    # One track; its middle is the person that its mean shows, and its ends are not.
    assert record.state == "anonymized" and len(record.faces) == 1
    after, _ = read_clip("out/clip.mp4")
    kept = [is_original(pixels) for pixels in after]
    assert any(kept[4:8]) and not any([*kept[:2], *kept[-2:]])


def test_track_stays_only_if_it_is_kept_itself():
    """Similarity put two tracks together; the chooser keeps only one of them."""
    ann, like_ann = np.eye(2, 16, dtype=np.float32)

    def track(start, vector):
        box = np.float32([10, 10, 50, 50])
        seen = Sighting(Detection(box, 0.9, np.zeros((5, 2), np.float32)), vector)
        return tracks.Track(start, [seen])

    person = pipeline.Person(b"digest", (ann + like_ann) / np.sqrt(2))
    identities = pipeline.VideoIdentities(
        [track(0, ann), track(9, like_ann)], [[], []], [person] * 2, [], [], 10.0
    )
    chooser = lambda faces: [f.embeddings[0][0] < 0.5 for f in faces]  # noqa: E731
    assert pipeline.assign(identities, None, chooser)[1] == {0}
    kept = pipeline.assign(identities, None, lambda faces: [True] * len(faces))[1]
    assert kept == set()


def test_key_names_the_person_of_the_whole_video(clip):
    anonymizer = make_anonymizer(key=b"k" * 32)
    seen = []

    def namer(faces):
        seen.append(len(faces))
        return ["ann"] * len(faces)

    run(clip, anonymizer=anonymizer, people=People(lambda source: namer))
    assert seen == [1]
    asked = anonymizer.tools.generator.requests
    other = make_anonymizer(key=b"k" * 32)
    other(scene(0), namer=lambda faces: ["ann"])
    expected = other.tools.generator.requests[0].latents[0]
    assert all(np.array_equal(row, expected) for r in asked for row in r.latents)


def spoil(path, kind):
    content = path.read_bytes()
    if kind == "text":
        path.write_bytes(b"not a video")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("kind", ["text", "empty", "cut"])
def test_spoiled_video_is_refused(clip, kind):
    spoil(clip, kind)
    record = run(clip)
    assert record.state == "refused" and "clip.mp4" in record.message
    assert not [path for path in pathlib.Path("out").rglob("*") if path.is_file()]


def test_video_that_breaks_off_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mkv", num=60, sound=False)
    clip.write_bytes(clip.read_bytes()[: -clip.stat().st_size // 3])
    record = run(clip)
    # Either the decoder notices, or what it could read is safe; it is told anyway.
    assert record.state in ("anonymized", "refused")
    assert "breaks off" in record.message


def test_sound_alone_and_photos_are_no_videos(clip, tmp_path):
    with av.open(str(tmp_path / "s.mp4"), "w") as opened:
        voice = opened.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        opened.mux(voice.encode(frame) + voice.encode())
    assert "only sound" in run(tmp_path / "s.mp4").message
    record = run(clip, out="out.png")
    assert record.state == "refused" and "a video becomes a video" in record.message


def test_repeat_gives_the_same_bytes_and_is_skipped(clip):
    first = run(clip).output_sha256
    anonymizer = make_anonymizer()
    assert run(clip, anonymizer=anonymizer).output_sha256 == first
    assert not anonymizer.tools.generator.requests
    assert run(clip, overwrite=True).output_sha256 == first


def test_memory_does_not_grow_with_length(tmp_path, monkeypatch):
    """At most one batch of frames is read ahead of what has been written."""
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "long.mp4", num=40, sound=False)
    read, written, most = itertools.count(), [0], [0]
    frames, write = container.frames, container.Writer.write

    def counted(path, span):
        for frame in frames(path, span):
            number = next(read) % 120  # three passes: faces, crops, new frames
            if number >= 80:
                most[0] = max(most[0], number - 80 - written[0])
            yield frame

    def counted_write(self, frame):
        written[0] += 1
        write(self, frame)

    monkeypatch.setattr(container, "frames", counted)
    monkeypatch.setattr(container.Writer, "write", counted_write)
    assert run(clip).frames == 40 and most[0] < 10


def test_flicker_of_a_still_face_is_small(clip):
    record = run(clip)
    flicker = record.flicker
    assert set(flicker) == {"drift_source", "drift", "warp_source", "warp"}
    assert flicker["drift"] < 0.02 and flicker["warp"] < 4
