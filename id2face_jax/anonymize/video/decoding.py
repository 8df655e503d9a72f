"""Packets to decoded frames with their times, over damage in between.

What cannot be decoded whole is left out, as is a frame that the decoder had to mend:
a face may be seen in it by people and by no detector. Owns what counts as lost. Leaves
files to `container`, and what a frame means to `upright`.
"""

import dataclasses
from collections.abc import Iterator

import av

from id2face_jax.anonymize.video import upright


class TimeError(Exception):
    """Frames whose times make no sense."""


@dataclasses.dataclass
class _Damage:
    """has_lost: whether anything was left out since the last frame that was not."""

    has_lost: bool = False
    is_known: bool = False  # ever

    def note(self) -> None:
        self.has_lost = self.is_known = True


def in_time(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[int, av.VideoFrame, bool]]:
    """Decoded frames with their times, and whether some before each were lost.

    Of frames with one time only the first is shown, by any player. Raises TimeError if
    times do not grow though nothing is damaged.
    """
    # Not by frames: what comes after damage would differ from pass to pass.
    stream.thread_type = "SLICE"
    counts = container.format.name == "avi"
    first, last, damage = None, None, _Damage()
    decoded = _decoded(container.demux(stream), damage)
    for frame in upright.deinterlaced(decoded, stream):
        pts = frame.pts
        if counts:
            # AVI has times of decoding alone, which frames out of order take along;
            # the first frame is at 0, and the last ones may have none.
            first = frame.dts if first is None else first
            known = first is not None and frame.dts is not None
            following = 0 if last is None else last + 1
            pts = max(following, frame.dts - first) if known else following
        if pts is None or (last is not None and pts < last):
            if damage.is_known:
                damage.note()
                continue
            raise TimeError(
                "without a time"
                if pts is None
                else f"out of order at {float(pts * frame.time_base):.2f} s"
            )
        if pts != last:
            last = pts
            yield pts, frame, damage.has_lost
            damage.has_lost = False


def _decoded(packets: Iterator[av.Packet], damage: _Damage) -> Iterator[av.VideoFrame]:
    """The frames that can be decoded; a file that ends too early just ends."""
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            damage.note()
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            damage.note()
            continue
        for frame in frames:
            if frame.is_corrupt:
                damage.note()
            else:
                yield frame
