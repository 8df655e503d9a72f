"""Video files to upright RGB frames with their times, and back.

Owns the containers (PyAV): rotation is applied to the pixels, times of frames are kept
as they are, also where they are uneven, and sound is copied, not coded again. Nothing
else is: titles, places and data tracks stay behind. Leaves faces to `video`.
"""

import contextlib
import dataclasses
import fractions
import os
import pathlib
from collections.abc import Iterator

import av
import numpy as np
from jaxtyping import UInt8

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
    """Upright pixels, and the time: seconds from the start, and the container's."""

    pixels: UInt8[np.ndarray, "h w 3"]
    seconds: float
    pts: int
    time_base: fractions.Fraction


def frames(path: str | os.PathLike, span: Span) -> Iterator[Frame]:
    """The frames of a span, one after the other.

    Raises ValueError, naming what is wrong, for what is no video or breaks off.
    """
    name = pathlib.Path(path).name
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise ValueError(f"{name} has frames without a time")
                seconds = float(frame.pts * frame.time_base)
                if span.end is not None and seconds >= span.end:
                    break
                if span.holds(seconds):
                    turns = round(frame.rotation / 90) % 4
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
                    yield Frame(
                        np.ascontiguousarray(pixels),
                        seconds,
                        frame.pts,
                        frame.time_base,
                    )
        except av.error.FFmpegError as error:
            raise ValueError(f"{name} breaks off: {error.strerror}") from error


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[av.container.InputContainer]:
    name = pathlib.Path(path).name
    try:
        container = av.open(os.fspath(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{name} is no video that can be read: {error}") from error
    with container:
        if not container.streams.video:
            raise ValueError(f"{name} has no pictures, only sound")
        yield container


def rate(path: str | os.PathLike) -> fractions.Fraction:
    """Frames a second, on average; 25 where the file does not say."""
    with _opened(path) as container:
        return container.streams.video[0].average_rate or fractions.Fraction(25)


def duration(path: str | os.PathLike) -> float:
    """Seconds that the container claims to hold; 0 where it does not say."""
    with _opened(path) as container:
        return (container.duration or 0) / av.time_base


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
        self._container = av.open(os.fspath(path), "w", format=kind)
        self._audio, self._stream = audio, None
        # Pictures and sound move by the same time, so they stay together.
        self._begin = span.start or 0
        self._rate = rate(source)

    def __enter__(self) -> "Writer":
        return self

    def write(self, frame: Frame) -> None:
        """Adds a frame; all are of one size and come in the order of their times."""
        if self._stream is None:
            self._open(frame)
            if self._audio:
                self._copy_sound()
        picture = av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")
        picture.pts = frame.pts - round(self._begin / frame.time_base)
        picture.time_base = frame.time_base
        self._container.mux(self._stream.encode(picture))

    def _open(self, frame: Frame) -> None:
        height, width = frame.pixels.shape[:2]
        stream = self._container.add_stream(self._codec, rate=self._rate)
        stream.width, stream.height = width, height
        # Half the colours need an even size.
        is_even = height % 2 == 0 and width % 2 == 0
        stream.pix_fmt = "yuv420p" if is_even else "yuv444p"
        stream.options = _OPTIONS[self._codec]
        stream.codec_context.time_base = frame.time_base
        self._stream = stream

    def _copy_sound(self) -> None:
        """Sound first: packets are few and small, and the muxer interleaves them."""
        with _opened(self._source) as container:
            if not container.streams.audio:
                return
            stream = container.streams.audio[0]
            target = self._container.add_stream_from_template(stream)
            for packet in container.demux(stream):
                if packet.pts is None:
                    continue
                if self._span.holds(float(packet.pts * packet.time_base)):
                    shift = round(self._begin / packet.time_base)
                    dts = packet.pts if packet.dts is None else packet.dts
                    packet.pts, packet.dts = packet.pts - shift, dts - shift
                    packet.stream = target
                    self._container.mux(packet)

    def __exit__(self, kind, error, trace) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()
