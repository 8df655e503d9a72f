"""Reading and writing videos: order, time, sound, color, size and rotation stay."""

import dataclasses
import itertools
import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest

from id2face_jax.anonymize.video import container
from id2face_jax.anonymize.video.container import Span
from tests.anonymize.clips import (
    NUM_FRAMES,
    RATE,
    number_of,
    read_clip,
    scene,
    sound_of,
    write_clip,
)

WHOLE = Span()


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.mp4")


def ffmpeg(*arguments):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    subprocess.run([*command, *map(str, arguments)], check=True, capture_output=True)


def copy(source, new, span=WHOLE, **options):
    """A video through reader and writer, without a change."""
    with container.Writer(new, source, span, suffix=new.suffix, **options) as writer:
        for frame in container.frames(source, span):
            writer.write(frame)
    return new


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_avi_has_no_times_and_keeps_its_order(tmp_path, codec):
    source = write_clip(tmp_path / "clip.mkv", sound=False)
    old = tmp_path / "old.avi"
    ffmpeg("-i", source, "-c:v", codec, "-bf", 2, "-q:v", 2, old)
    after, times = read_clip(copy(old, tmp_path / "new.avi"))
    assert [number_of(pixels) for pixels in after] == list(range(NUM_FRAMES))
    assert times == pytest.approx([i / RATE for i in range(NUM_FRAMES)])


def test_time_counts_from_where_the_video_begins(clip, tmp_path):
    late = tmp_path / "late.mkv"
    ffmpeg("-i", clip, "-c", "copy", "-output_ts_offset", 7, late)
    assert read_clip(late)[1][0] == pytest.approx(0.0, abs=0.05)
    part = copy(late, tmp_path / "part.mkv", Span(0.3, 0.8))
    after, times = read_clip(part)
    assert [number_of(pixels) for pixels in after] == [3, 4, 5, 6, 7]
    assert sound_of(part) and container.end_of(part) < 1.5


def test_frames_of_one_time_are_one_frame(tmp_path):
    path, times = tmp_path / "twice.mkv", [0, 1, 1, 2, 3]
    with av.open(str(path), "w") as opened:
        stream = opened.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 220, 200, "yuvj420p"
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(scene(index), format="rgb24")
            frame.pts = index
            for packet in stream.encode(frame):
                packet.pts = packet.dts = time
                opened.mux(packet)
    assert [number_of(pixels) for pixels in read_clip(path)[0]] == [0, 1, 3, 4]


def test_sound_stands_beside_its_pictures(tmp_path):
    """Players look no further than some seconds; 10 s is what the muxer waits."""
    small = lambda index: np.full((48, 64, 3), index, np.uint8)  # noqa: E731
    source = write_clip(tmp_path / "clip.mkv", num=15 * RATE, make=small)
    with av.open(str(copy(source, tmp_path / "new.mkv"))) as opened:
        reached = {"video": 0.0, "audio": 0.0}
        for packet in opened.demux():
            if packet.pts is not None:
                reached[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(reached["video"] - reached["audio"]) < 2
    assert min(reached.values()) > 14


def test_sound_that_does_not_fit_is_an_error_that_says_what_to_do(clip, tmp_path):
    with pytest.raises(ValueError, match="keep the suffix .mp4, or give --no-audio"):
        copy(clip, tmp_path / "new.webm")
    copy(clip, tmp_path / "new.webm", audio=False)


def test_frames_of_changing_size_are_refused(clip, tmp_path):
    first = next(container.frames(clip, Span()))
    small = dataclasses.replace(first, pixels=first.pixels[:100].copy(), seconds=0.1)
    with (
        pytest.raises(ValueError, match="change size at 0.10 s, from 220 x 200"),
        container.Writer(tmp_path / "n", clip, Span(), suffix=".mp4") as writer,
    ):
        writer.write(first)
        writer.write(small)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "unspecified"])
def test_colors_mean_what_they_meant(tmp_path, matrix):
    bars = np.zeros((720, 1280, 3), np.uint8)
    for column, color in enumerate(itertools.product((40, 200), repeat=3)):
        bars[:, 160 * column : 160 * (column + 1)] = color
    source = write_clip(tmp_path / "a.mkv", 2, sound=False, make=lambda i: bars)
    tagged = tmp_path / "tagged.mp4"
    tags = f"colorspace={matrix}:color_primaries={matrix}:color_trc={matrix}"
    filters = f"scale=out_color_matrix={matrix},setparams={tags}"
    filters = "null" if matrix == "unspecified" else filters
    ffmpeg("-i", source, "-vf", filters, "-crf", 4, tagged)
    new = copy(tagged, tmp_path / "new.mp4")
    with av.open(str(new)) as old, av.open(str(tagged)) as opened:
        one, other = (c.streams.video[0].codec_context for c in (old, opened))
        assert one.color_primaries == other.color_primaries
        assert one.color_trc == other.color_trc
        # Said, if it was said; the matrix itself may be another.
        assert (one.colorspace == 2) == (other.colorspace == 2)
    before, after = read_clip(tagged)[0][0], read_clip(new)[0][0]
    assert np.abs(before.astype(int) - after).mean() < 3


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(clip, tmp_path, degrees):
    turned = tmp_path / "turned.mp4"
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-display_rotation", str(degrees), "-i", str(clip), "-c", "copy"]
    subprocess.run([*command, str(turned)], check=True, capture_output=True)
    # What ffmpeg itself shows, turned by its own hand.
    shown = tmp_path / "shown.mkv"
    subprocess.run(
        [ffmpeg, "-i", str(turned), "-crf", "4", str(shown)],
        check=True,
        capture_output=True,
    )
    ours, theirs = read_clip(turned)[0], read_clip(shown)[0]
    assert ours[0].shape == theirs[0].shape
    assert np.abs(ours[3].astype(int) - theirs[3]).mean() < 8
