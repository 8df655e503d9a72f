"""Clips as people have them: what plays is written, no more and no less."""

import fractions

import av
import numpy as np
import pytest

from id2face_jax.anonymize.video import container
from id2face_jax.anonymize.video.container import Span
from tests.anonymize.clips import RATE, read_clip, write_clip
from tests.anonymize.video.test_container import copy, ffmpeg


def seconds_of_sound(path):
    """All that can be decoded, also what the file says not to play."""
    with av.open(str(path), options={"ignore_editlist": "1"}) as opened:
        frames = list(opened.decode(audio=0))
        return sum(frame.samples for frame in frames) / frames[0].sample_rate


def test_sound_before_the_start_of_an_edit_list_is_not_written(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4")
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", 0.55, "-i", whole, "-c", "copy", cut)
    assert seconds_of_sound(cut) > 1.0
    new = copy(cut, tmp_path / "new.mp4")
    # Packets are whole: the first that plays, and the one before it, stay so.
    packet = 1024 / 8000
    assert 0.6 < seconds_of_sound(new) < 0.65 + 2 * packet


def test_what_is_transparent_is_black(tmp_path):
    pixels = np.full((64, 80, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[:32, :, 3] = 0
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as opened:
        stream = opened.add_stream("qtrle", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "argb"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(
            format="argb"
        )
        opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
    (frame,), _ = read_clip(path)
    assert not frame[:32].any() and frame[32:].min() > 190


def test_transparency_that_is_not_decoded_is_refused(tmp_path):
    whole = write_clip(tmp_path / "whole.webm", num=2, sound=False)
    clear = tmp_path / "clear.webm"
    ffmpeg("-i", whole, "-c", "copy", "-metadata:s:v:0", "alpha_mode=1", clear)
    with pytest.raises(ValueError, match="is transparent"):
        read_clip(clear)


@pytest.mark.parametrize("degrees", [0, 90])
def test_aspect_of_pixels_is_kept(tmp_path, degrees):
    whole = write_clip(tmp_path / "whole.mp4", num=3, sound=False)
    wide = tmp_path / "wide.mp4"
    turn = ("-display_rotation", degrees)
    ffmpeg(*turn, "-i", whole, "-c", "copy", "-aspect", "220:100", wide)
    with av.open(str(copy(wide, tmp_path / "new.mp4"))) as opened:
        aspect = opened.streams.video[0].sample_aspect_ratio
    expected = fractions.Fraction(2)
    assert aspect == (1 / expected if degrees else expected)


def test_last_frame_lasts_as_long_as_it_did(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as opened:
        stream = opened.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        stream.options = {"bf": "0"}
        packets = []
        for time in (0, 1, 2, 6):
            pixels = np.full((64, 80, 3), 20 * time, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = time
            packets += stream.encode(frame)
        packets += stream.encode()
        for packet, duration in zip(packets, (1, 1, 4, 50), strict=True):
            packet.duration = duration
            opened.mux(packet)
    assert container.end_of(path) == pytest.approx(5.6)
    new = copy(path, tmp_path / "new.mp4")
    assert container.end_of(new) == pytest.approx(5.6)
    assert read_clip(new)[1] == pytest.approx([0, 0.1, 0.2, 0.6])


def test_fields_become_frames(tmp_path):
    """A bar that moves between the two fields leaves no comb."""
    path = tmp_path / "a.mp4"

    def fields(index):
        pixels = np.full((96, 160, 3), 30, np.uint8)
        for field in range(2):
            left = 10 + 20 * index + 10 * field
            pixels[field::2, left : left + 40] = 220
        return pixels

    progressive = write_clip(tmp_path / "p.mkv", num=5, sound=False, make=fields)
    flags = ("-flags", "+ildct+ilme", "-x264opts", "tff=1", "-crf", 8)
    fieldwise = ("-vf", "setfield=tff", "-c:v", "libx264", *flags)
    ffmpeg("-i", progressive, *fieldwise, path)

    def comb(pixels):
        rows = pixels[8:-8].astype(int).mean(axis=-1)
        return np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean()

    new = copy(path, tmp_path / "new.mp4")
    after, times = read_clip(new)
    assert len(after) == 5 and times == pytest.approx([i / RATE for i in range(5)])
    assert max(map(comb, after)) < 0.3 * min(comb(fields(i)) for i in range(5))
    with av.open(str(new)) as opened:
        assert not any(frame.interlaced_frame for frame in opened.decode(video=0))


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile b.mp4\n", "#EXTM3U\nb.mp4\n"]
)
def test_text_that_names_other_files_is_no_video(tmp_path, text):
    write_clip(tmp_path / "b.mp4", num=2, sound=False)
    (tmp_path / "a.mp4").write_text(text)
    with pytest.raises(ValueError, match="is no video that can be read"):
        list(container.frames(tmp_path / "a.mp4", Span()))
