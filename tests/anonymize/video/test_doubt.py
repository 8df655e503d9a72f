"""What may be a face in a clip is hidden as in a photo, also beside a sure face."""

import numpy as np
import pytest

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.anonymize.video import container, pipeline
from id2face_jax.anonymize.video.container import Span
from id2face_jax.anonymize.video.options import VideoOptions
from id2face_jax.faces import align
from id2face_jax.faces.detect import Detection
from tests.anonymize import planted
from tests.anonymize.clips import NUM_FRAMES, read_clip, scene, write_clip

BOX = np.float32([160, 140, 190, 180])
PLACE = np.s_[145:175, 165:185]


def place(score):
    return Detection(BOX, score, align.template(30) + BOX[:2])


class Crowd(planted.PlantedDetector):
    """Sees the planted face, and beside it something of a score."""

    def __init__(self, score):
        super().__init__()
        self._score = score

    def __call__(self, image, threshold):
        found = super().__call__(image, threshold)
        if image.shape == (200, 220, 3):
            found = found + [place(self._score)] * (self._score > threshold)
        return found


class Second:
    """Sees a face that the border cuts; counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, image, threshold):
        self.calls += 1
        middle = (BOX[:2] + BOX[2:]) / 2
        return [Detection(BOX, 0.9, np.repeat(middle[None], 5, axis=0))]


def anonymize(tmp_path, detector, second=None, **options):
    clip = write_clip(tmp_path / "clip.mp4", make=spotted, sound=False)
    anonymizer = Anonymizer(
        planted.PlantedGenerator(planted.other_face),
        [planted.PlantedRecognizer()],
        detector,
        FaceOptions(),
        second,
    )
    tally, _, remark = pipeline.anonymize(
        anonymizer.tools,
        clip,
        tmp_path / "new.mp4",
        ".mp4",
        VideoOptions(),
        quiet=True,
        **options,
    )
    return anonymizer, tally, remark, read_clip(tmp_path / "new.mp4")[0]


def spotted(index):
    """A frame in whose doubtful place there is much to see."""
    pixels = scene(index)
    pixels[PLACE] = np.indices((30, 20)).sum(0)[..., None] // 3 % 2 * 255
    return pixels


@pytest.mark.parametrize("score", [0.12, 0.3])
def test_doubt_beside_a_sure_face_is_hidden_in_every_frame(tmp_path, score):
    anonymizer, tally, remark, frames = anonymize(tmp_path, Crowd(score))
    assert len(frames) == NUM_FRAMES and tally.state == "anonymized"
    assert all(frame[PLACE].std() < 40 < spotted(0)[PLACE].std() for frame in frames)
    assert f"{NUM_FRAMES} frames have places blurred that may be faces" in remark
    assert f"first at 0.00 s: 30 x 40 pixels at (160, 140), score {score}" in remark
    # It gets no new face.
    asked = anonymizer.tools.generator.requests
    assert sum(map(len, asked)) == NUM_FRAMES


def test_second_detector_is_asked_every_few_frames_and_tracked_between(tmp_path):
    second = Second()
    _, tally, remark, frames = anonymize(tmp_path, Crowd(0.0), second)
    assert all(frame[PLACE].std() < 40 for frame in frames)
    assert second.calls == NUM_FRAMES // 2  # ten frames a second
    assert tally.state == "anonymized" and "cut by the border" in remark


def test_doubt_alone_is_a_fallback_and_is_never_kept(tmp_path):
    def chooser(faces):
        return [False] * len(faces)

    _, tally, _, frames = anonymize(tmp_path, Crowd(0.3), chooser=chooser)
    assert tally.state == "fallback"
    assert all(frame[PLACE].std() < 40 for frame in frames)
    clip = list(container.frames(tmp_path / "clip.mp4", Span()))
    face = np.s_[60:120, 70:130]
    assert np.abs(frames[3][face].astype(int) - clip[3].pixels[face]).mean() < 10
