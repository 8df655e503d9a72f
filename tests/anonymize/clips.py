"""Short videos of the planted face for tests: written, and read back."""

import av
import numpy as np

from id2face_jax.anonymize.video import container
from id2face_jax.anonymize.video.container import Span
from tests.anonymize import planted

RATE, NUM_FRAMES = 10, 12


def scene(index):
    """A frame with the planted face; its corner tells its number."""
    pixels = planted.picture(0)
    pixels[:24, :24] = 20 * (index % NUM_FRAMES)
    return pixels


def write_clip(path, num=NUM_FRAMES, sound=True, times=None, make=scene):
    with av.open(str(path), "w") as opened:
        codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
        stream = opened.add_stream(codec, rate=RATE)
        height, width = make(0).shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "4"}
        voice = opened.add_stream("aac", rate=8000) if sound else None
        if voice is not None:
            wave = np.sin(np.arange(8000 * num // RATE) / 9).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 8000, 0
            opened.mux(voice.encode(samples) + voice.encode())
        for index in range(num):
            frame = av.VideoFrame.from_ndarray(make(index), format="rgb24")
            frame.pts = index if times is None else times[index]
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode())
    return path


def read_clip(path):
    found = list(container.frames(path, Span()))
    return [frame.pixels for frame in found], [frame.seconds for frame in found]


def sound_of(path):
    with av.open(str(path)) as opened:
        if not opened.streams.audio:
            return None
        return [bytes(p) for p in opened.demux(audio=0) if p.pts is not None]


def number_of(pixels):
    """What `scene` wrote into the corner."""
    return round(float(pixels[4:20, 4:20].mean()) / 20)
