"""Video files to upright RGB frames with their times, and back.

Owns the containers (PyAV): rotation is applied to the pixels, fields are made frames,
what is transparent is black; times of frames are kept, also where they are uneven, and
the aspect of pixels; colors mean what they meant, and sound is copied as far as it
plays, not coded again. Nothing else is: titles, places and data tracks stay behind.
Leaves faces to `pipeline`.
"""

import contextlib
import dataclasses
import fractions
import os
import pathlib
from collections.abc import Iterator

import av
import numpy as np
from av.stream import Disposition
from jaxtyping import UInt8

from id2face_jax.anonymize.video import decoding, upright

# Suffix -> the codec of pictures that its container takes.
CODECS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".mkv", ".avi"), "libx264"),
    ".webm": "libvpx-vp9",
}
SUFFIXES = tuple(CODECS)
_OPTIONS = {
    "libx264": {"crf": "18", "preset": "medium"},
    "libvpx-vp9": {"crf": "24", "b": "0", "cpu-used": "4"},
}
# What is opened, whatever a file's name says: other formats, such as ffconcat, name
# further files to read.
_OPENED = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
    "protocol_whitelist": "file",
}
# ITU-T H.273: no word of a color's meaning; matrix BT.709; range 16 to 235.
_UNSPECIFIED, _BT709, _LIMITED = 2, 1, 1


@dataclasses.dataclass(frozen=True)
class Span:
    """The part of a video to take, in seconds; None is its own beginning or end."""

    start: float | None = None
    end: float | None = None

    def __post_init__(self):
        start, end = self.start or 0.0, self.end
        if start < 0 or (end is not None and end <= start):
            raise ValueError(
                f"the span from {self.start} to {self.end} seconds is empty; --end "
                "must lie after --start"
            )

    def holds(self, seconds: float) -> bool:
        """Whether a time lies in the span."""
        begins = self.start is None or seconds >= self.start
        return begins and (self.end is None or seconds < self.end)


@dataclasses.dataclass(frozen=True)
class Frame:
    """Upright pixels, and their time.

    Attributes:
      seconds: from the start.
      pts, duration: of the container, in units of `time_base`; a duration of 0 is none.
      aspect: a pixel's width over its height.
      after_loss: whether what came before it could not be read.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    seconds: float
    pts: int
    time_base: fractions.Fraction
    duration: int = 0
    aspect: fractions.Fraction = fractions.Fraction(1)
    after_loss: bool = False


def frames(path: str | os.PathLike, span: Span) -> Iterator[Frame]:
    """The frames of a span that can be read, one after the other; their times grow.

    Raises ValueError, naming what is wrong, for what is no video.
    """
    name = pathlib.Path(path).name
    with _opened(path) as container:
        origin, stream = _origin(container), _pictures(container)
        aspect = stream.sample_aspect_ratio
        try:
            for pts, frame, after_loss in decoding.in_time(container, stream):
                seconds = float(pts * frame.time_base - origin)
                if span.end is not None and seconds >= span.end:
                    break
                if span.holds(seconds):
                    yield Frame(
                        upright.pixels_of(frame),
                        seconds,
                        pts,
                        frame.time_base,
                        frame.duration or 0,
                        upright.aspect_of(aspect, frame),
                        after_loss,
                    )
        except av.error.FFmpegError as error:
            raise ValueError(f"{name} breaks off: {error.strerror}") from error
        except decoding.TimeError as error:
            raise ValueError(f"{name} has frames {error}") from None


def _pictures(container: av.container.InputContainer) -> av.VideoStream:
    # Not the first: that may be a cover.
    return container.streams.best("video")


def further_pictures(path: str | os.PathLike) -> list[str]:
    """Size and codec of each picture track that is not taken; covers are none."""
    with _opened(path) as container:
        taken = _pictures(container)
        return [
            f"{stream.width} x {stream.height} {stream.codec_context.name}"
            for stream in container.streams.video
            if stream.index != taken.index
            and not stream.disposition & Disposition.attached_pic
        ]


def _has_half_colors(kind: av.VideoFormat | None) -> bool:
    """Whether a pixel format is 4:2:0."""
    if kind is None or len(kind.components) < 3:
        return False
    return (kind.chroma_width(2), kind.chroma_height(2)) == (1, 1)


def _origin(container: av.container.InputContainer) -> fractions.Fraction:
    """Seconds at which the container begins; players call it 0."""
    return fractions.Fraction(max(0, container.start_time or 0), av.time_base)


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
    name = pathlib.Path(path).name
    try:
        container = av.open(os.fspath(path), options=dict(_OPENED))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{name} is no video that can be read: {error}") from error
    with container:
        if not container.streams.video:
            raise ValueError(f"{name} has no pictures, only sound")
        said = _pictures(container).metadata
        if "1" in (said.get("alpha_mode"), said.get("ALPHA_MODE")):
            # WebM's transparency, which the decoder leaves out, may hide a face.
            raise ValueError(f"{name} is transparent; flatten the video first")
        yield container


def _played(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """The packets that play, and the one before them, which a decoder begins with.

    What lies before an edit list's start, or after its end, is never heard.
    """
    before, has_begun = None, False
    for packet in packets:
        if packet.pts is None:
            continue
        if packet.is_discard:
            before = packet
            continue
        if before is not None and not has_begun:
            yield before
        has_begun = True
        yield packet


def rate(path: str | os.PathLike) -> fractions.Fraction:
    """Frames a second, on average; 25 where the file does not say."""
    with _opened(path) as container:
        return _pictures(container).average_rate or fractions.Fraction(25)


def end_of(path: str | os.PathLike) -> float:
    """Seconds from the start to where the pictures end, as the file claims.

    0 where it does not say.
    """
    with _opened(path) as container:
        stream = _pictures(container)
        if stream.duration is not None:
            end = (stream.start_time or 0) + stream.duration
            return float(end * stream.time_base - _origin(container))
        return float((container.duration or 0) / av.time_base - _origin(container))


class Writer:
    """Writes frames, and the sound of `source`, to a new video file.

    To be used in a `with`; the file is complete after it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        source: str | os.PathLike,
        span: Span,
        *,
        suffix: str,
        audio: bool = True,
    ):
        """Args:

        path: of the new file, with any name.
        source: whose sound and rate are taken.
        span: of the source; it becomes the whole new video.
        suffix: a key of CODECS, the kind of the new file.
        audio: whether to take the sound along.
        """
        kind = {".m4v": "mp4", ".mkv": "matroska"}.get(suffix, suffix.removeprefix("."))
        self._codec, self._source, self._span = CODECS[suffix], source, span
        self._is_avi = kind == "avi"
        with _opened(source) as container:
            # Pictures and sound move by the same time, so they stay together.
            self._begin = _origin(container) + fractions.Fraction(span.start or 0)
            self._origin = _origin(container)
            pictures = _pictures(container)
            coded = pictures.codec_context
            self._is_uneven = pictures.base_rate != pictures.average_rate
            self._colors = (coded.colorspace, coded.color_primaries, coded.color_trc)
            self._has_half_colors = _has_half_colors(coded.format)
        self._rate = rate(source)
        self._container = av.open(os.fspath(path), "w", format=kind)
        self._audio, self._stream = audio, None
        self._size, self._padding = (0, 0), ((0, 0), (0, 0), (0, 0))
        self._sound: Iterator[tuple[float, av.Packet]] = iter(())
        self._next: tuple[float, av.Packet] | None = None
        self._stack = contextlib.ExitStack()
        self._durations: dict[int, int] = {}

    def __enter__(self) -> "Writer":
        return self

    def write(self, frame: Frame) -> None:
        """Adds a frame; all are of one size and come in the order of their times."""
        height, width = frame.pixels.shape[:2]
        if self._stream is None:
            self._open(frame)
            if self._audio:
                self._open_sound()
        if (width, height) != self._size:
            raise ValueError(
                f"its frames change size at {frame.seconds:.2f} s, from "
                f"{self._size[0]} x {self._size[1]} to {width} x {height}; "
                "cut it there with --start and --end"
            )
        self._mux_sound(frame.seconds)
        pixels = np.pad(frame.pixels, self._padding, mode="edge")
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if self._is_tagged:
            picture = picture.reformat(
                format=self._stream.pix_fmt,
                dst_colorspace=_BT709,
                dst_color_range=_LIMITED,
            )
        picture.pts = frame.pts - round(self._begin / frame.time_base)
        picture.time_base = frame.time_base
        self._durations[picture.pts] = frame.duration
        self._mux(self._stream.encode(picture))

    @property
    def is_padded(self) -> bool:
        """Whether the new pictures have a line or a column more, a repeated one."""
        return self._padding != ((0, 0), (0, 0), (0, 0))

    def _mux(self, packets: list[av.Packet]) -> None:
        """Packets with the durations of their frames, which encoders do not keep."""
        for packet in packets:
            duration = self._durations.pop(packet.pts, 0)
            if duration and not self._is_avi:  # one slot a frame
                packet.duration = duration
            self._container.mux(packet)

    @property
    def _is_tagged(self) -> bool:
        # Pixels of a source without a word go out as they came in, and players guess
        # the same.
        return self._colors[0] != _UNSPECIFIED

    def _open(self, frame: Frame) -> None:
        height, width = frame.pixels.shape[:2]
        stream = self._container.add_stream(self._codec, rate=self._rate)
        self._size, stream.pix_fmt = (width, height), "yuv420p"
        if self._codec == "libx264" and (height % 2 or width % 2):
            # Half the colors need an even size there; with all colors, which a source
            # with half of them does not have, few players show it.
            if self._has_half_colors:
                self._padding = ((0, height % 2), (0, width % 2), (0, 0))
            else:
                stream.pix_fmt = "yuv444p"
        stream.height, stream.width = (
            side + after
            for side, (_, after) in zip((height, width), self._padding, strict=False)
        )
        stream.options = dict(_OPTIONS[self._codec])
        context = stream.codec_context
        context.time_base = frame.time_base
        context.sample_aspect_ratio = frame.aspect
        if self._is_uneven and self._codec == "libx264":
            # MP4 ends with the frame that is coded last: that must be the last shown.
            stream.options |= {"bf": "0"}
        if self._is_avi:
            # It has no times for frames out of order, and one slot a frame.
            stream.options |= {"bf": "0"}
            context.time_base = 1 / self._rate
        if self._is_tagged:
            context.colorspace, context.color_range = _BT709, _LIMITED
            _, context.color_primaries, context.color_trc = self._colors
        self._stream = stream

    def _open_sound(self) -> None:
        container = self._stack.enter_context(_opened(self._source))
        if not container.streams.audio:
            return
        stream = container.streams.best("audio")
        try:
            target = self._container.add_stream_from_template(stream)
        except ValueError as error:
            raise ValueError(
                f"its sound cannot be copied ({error}); keep the suffix "
                f"{pathlib.Path(self._source).suffix}, or give --no-audio"
            ) from None
        self._sound = self._packets(container, stream, target)
        self._next = next(self._sound, None)

    def _packets(self, container, stream, target) -> Iterator[tuple[float, av.Packet]]:
        """Packets of sound for the new file, and their seconds in the source."""
        for packet in _played(container.demux(stream)):
            seconds = float(packet.pts * packet.time_base - self._origin)
            if self._span.holds(seconds):
                shift = round(self._begin / packet.time_base)
                dts = packet.pts if packet.dts is None else packet.dts
                packet.pts, packet.dts = packet.pts - shift, dts - shift
                packet.stream = target
                yield seconds, packet

    def _mux_sound(self, until: float) -> None:
        """Sound up to a time: beside its pictures, where players look for it."""
        while self._next is not None and self._next[0] <= until:
            self._container.mux(self._next[1])
            self._next = next(self._sound, None)

    def __exit__(self, kind, error, trace) -> None:
        with self._stack, self._container:
            if kind is None and self._stream is not None:
                self._mux_sound(float("inf"))
                self._mux(self._stream.encode())
