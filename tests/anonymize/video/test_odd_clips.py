"""Clips as people have them: what plays is written, no more and no less."""

import fractions
import pathlib

import av
import numpy as np
import PIL.Image
import pytest

from id2face_jax.anonymize.video import container
from id2face_jax.anonymize.video.container import Span
from tests.anonymize.clips import RATE, read_clip, scene, write_clip
from tests.anonymize.video.test_container import copy, ffmpeg
from tests.anonymize.video.test_pipeline import run


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


def odd_clip(path, *options):
    """Of 117 x 131 pixels, whose last column and row are white."""
    pixels = np.full((131, 117, 3), 60, np.uint8)
    pixels[-1], pixels[:, -1] = 255, 255
    with av.open(str(path.with_suffix(".mkv")), "w") as opened:
        stream = opened.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 117, 131, "bgr0"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
    ffmpeg("-i", path.with_suffix(".mkv"), *options, path)
    return path


@pytest.mark.parametrize(
    ("suffix", "options", "shape", "colors"),
    [
        # H.264 wants even sizes: a line is repeated, as few players show 4:4:4.
        (".mov", ("-c:v", "mpeg4", "-q:v", 2, "-pix_fmt", "yuv420p"), (132, 118), 420),
        (".webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p"), (131, 117), 420),
        # A source with all colors keeps its size, and them.
        (".mp4", ("-c:v", "libx264", "-pix_fmt", "yuv444p"), (131, 117), 444),
    ],
)
def test_odd_sizes_with_half_the_colors_keep_to_them(
    tmp_path, monkeypatch, suffix, options, shape, colors
):
    monkeypatch.chdir(tmp_path)
    record = run(odd_clip(tmp_path / f"odd{suffix}", *options), on_no_face="copy")
    new = tmp_path / "out" / f"odd{suffix}"
    with av.open(str(new)) as opened:
        assert opened.streams.video[0].codec_context.pix_fmt == f"yuv{colors}p"
    (first, *_), _ = read_clip(new)
    assert first.shape == (*shape, 3)
    assert ("a line of pixels is repeated" in record.message) == (shape == (132, 118))
    assert first[-1].mean() > 200 and first[:, -1].mean() > 200
    assert first[:100, :100].mean() < 80


def test_further_picture_tracks_are_named_and_covers_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = write_clip(tmp_path / "one.mp4", num=3, sound=False)
    both = tmp_path / "both.mkv"
    ffmpeg("-i", one, "-i", one, "-map", 0, "-map", 1, "-s:v:1", "110x100", both)
    record = run(both)
    assert "further picture tracks are left out: 110 x 100 h264" in record.message
    with av.open(str(tmp_path / "out" / "both.mkv")) as opened:
        assert len(opened.streams.video) == 1
    cover = tmp_path / "cover.png"
    PIL.Image.fromarray(scene(0)).save(cover)
    covered = tmp_path / "covered.mp4"
    is_cover = ("-disposition:v:1", "attached_pic")
    ffmpeg(
        *("-i", one, "-i", cover, "-map", 0, "-map", 1),
        *("-c:v:0", "copy", "-c:v:1", "png", *is_cover, covered),
    )
    assert "further picture tracks" not in run(covered).message


def damaged(path, seed):
    """A clip of four groups of pictures, of some kilobytes each, damaged midway."""

    def noisy(index):
        pixels = scene(index)
        rng = np.random.default_rng(index)
        pixels[120:, :] = rng.integers(0, 256, (80, 220, 3))
        return pixels

    whole = write_clip(path.with_stem("whole"), num=40, sound=False, make=noisy)
    ffmpeg("-i", whole, *("-g", 10, "-bf", 2, "-crf", 20), path)
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    start, end = (int(share * len(content)) for share in (0.45, 0.55))
    content[start:end] = rng.bytes(end - start)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_the_readable_rest_of_a_damaged_clip_is_written_and_the_gap_is_told(
    tmp_path, monkeypatch, suffix
):
    monkeypatch.chdir(tmp_path)
    record = run(damaged(tmp_path / f"clip{suffix}", seed=0))
    assert record.state == "anonymized"
    assert "what could not be read is left out" in record.message
    times = read_clip(next(pathlib.Path("out").glob("clip.*")))[1]
    # Before and after the damage; what is left keeps its time.
    assert 20 < len(times) == record.frames < 40
    assert times[:5] == pytest.approx([i / RATE for i in range(5)], abs=0.01)
    assert times[-1] > 3.5


def test_a_clip_of_which_nothing_can_be_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mkv", num=3, sound=False)
    content = clip.read_bytes()
    head = content.index(b"\x1f\x43\xb6\x75")  # the first cluster
    clip.write_bytes(content[: head + 12] + bytes(len(content) - head - 12))
    record = run(clip)
    assert record.state == "refused" and "no frame" in record.message
