"""Decoded frames to upright RGB pixels: fields, alpha, rotation, the aspect of pixels.

Owns what a single frame means. Leaves files and times to `container`.
"""

import fractions
import itertools
from collections.abc import Iterator

import av
import numpy as np
from jaxtyping import UInt8


def deinterlaced(
    frames: Iterator[av.VideoFrame], stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Frames whose lines are all of one moment; a face must not be in two places."""
    first = next(frames, None)
    if first is None:
        return
    if not first.interlaced_frame:
        yield first
        yield from frames
        return
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=stream),
        graph.add("bwdif", "mode=send_frame"),
        graph.add("buffersink"),
    ).configure()
    for frame in itertools.chain([first], frames, [None]):
        graph.vpush(frame)
        while True:
            try:
                found = graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            # The filter counts in units of its own.
            found.pts = round(found.pts * found.time_base / first.time_base)
            found.duration = round(found.duration * found.time_base / first.time_base)
            found.time_base = first.time_base
            yield found


def pixels_of(frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """Upright RGB pixels; what is transparent is black."""
    if any(component.is_alpha for component in frame.format.components):
        # What nobody sees may still be a face.
        pixels = frame.to_ndarray(format="rgba")
        opacity = pixels[..., 3:].astype(np.uint16)
        pixels = (pixels[..., :3] * opacity // 255).astype(np.uint8)
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, _turns(frame)))


def _turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def aspect_of(
    aspect: fractions.Fraction | None, frame: av.VideoFrame
) -> fractions.Fraction:
    """The aspect of the upright frame's pixels; `aspect` is that of the file."""
    if not aspect:  # 0 or nothing: not said
        return fractions.Fraction(1)
    return 1 / aspect if _turns(frame) % 2 else aspect
