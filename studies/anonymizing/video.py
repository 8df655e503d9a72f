"""A clip through the shipped model: every frame's face is changed, all else is kept."""

import json

import av
import numpy as np
import PIL.Image

from id2face_jax.anonymize.video import container
from studies.anonymizing import corpus, independent

_SHOWN = 9  # frames on the sheet


def make(work) -> dict:
    """Anonymizes the clip, compares frame by frame, and leaves a sheet in the work."""
    clip, out = work.root / "clip.mp4", work.root / "clip-new.mp4"
    report = work.root / "clip.json"
    corpus.write_clip(clip)
    ran = work.run(
        *("id2face", "anonymize", str(clip), "-o", str(out)),
        *("--report", str(report), "--quiet"),
    )
    record = json.loads(report.read_text())["files"][0]
    before, after = _frames(clip), _frames(out)
    seen = [
        independent.compare(old.pixels, new.pixels, work.detector, work.recognizers)
        for old, new in zip(before, after, strict=True)
    ]
    faces = [face for frame in seen for face in frame]
    _sheet(before, after).save(work.root / "clip.png")
    return {
        "code": ran.code,
        "seconds": ran.seconds,
        "peak_mb": ran.peak_mb,
        "state": record["state"],
        "frames": [len(before), len(after)],
        "rate": [float(container.rate(path)) for path in (clip, out)],
        "length": [round(container.end_of(path), 3) for path in (clip, out)],
        "same_times": [f.seconds for f in before] == [f.seconds for f in after],
        "same_sound": _sound(clip) == _sound(out) != [],
        "faces": len(faces),
        "frames_without_sure_face": sum(not frame for frame in seen),
        "untouched_faces": sum(face.is_untouched for face in faces),
        "recognized_faces": {
            r.name: sum(face.cosines[r.name] >= r.threshold for face in faces)
            for r in work.recognizers
        },
        "blurred_frames": sum(face["blurred_frames"] for face in record["faces"]),
        "flicker": record["flicker"],
    }


def _frames(path) -> list[container.Frame]:
    return list(container.frames(path, container.Span()))


def _sound(path) -> list[bytes]:
    with av.open(str(path)) as opened:
        return [bytes(p) for p in opened.demux(audio=0) if p.pts is not None]


def _sheet(before, after) -> PIL.Image.Image:
    chosen = np.linspace(0, len(before) - 1, _SHOWN).astype(int)
    rows = [
        np.concatenate([frames[i].pixels for i in chosen], axis=1)
        for frames in (before, after)
    ]
    return PIL.Image.fromarray(np.concatenate(rows))
