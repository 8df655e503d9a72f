"""What the report says of a picture, a face and a run.

Owns report.json's schema (version SCHEMA) and its totals. It holds no embedding, no
key, no person id and no pixel: who gets the report learns nothing of the faces but
where they were. Leaves the page to `html`, and when it is written to `batch.state`.
"""

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Sequence

import numpy as np

import id2face_jax
from id2face_jax.anonymize.pipeline.face import FACE_STATES, STATES, Face
from id2face_jax.anonymize.pipeline.pipeline import Tools
from id2face_jax.anonymize.report.record import FileRecord
from id2face_jax.faces import finding
from id2face_jax.faces.detect import Detection

SCHEMA = "id2face-report-2"
# Reports of these versions are read, too: their records are the same.
READ = ("id2face-report-1", SCHEMA)
_PACKAGES = ("jax", "flax", "numpy", "onnxruntime", "opencv-python", "pillow")


def face_record(face: Face) -> dict:
    """A face of report.json; docs/anonymizing.md explains the fields."""
    return {
        **_place(face.detection),
        "state": face.state,
        "cosine": _rounded(face.cosine),
        "threshold": _rounded(face.threshold),
        "margin": _rounded(face.threshold - face.cosine) if face.checks else None,
        "attempts": face.attempts,
        "angle": face.angle,
        "seen_again": face.seen,
        "checks": [
            {
                "recognizer": check.recognizer,
                "cosine": _rounded(check.cosine),
                "threshold": _rounded(check.threshold),
                "passed": check.passed,
            }
            for check in face.checks
        ],
    }


def _rounded(value: float | None) -> float | None:
    # NaN is no JSON; a check that gave one has failed, and says so in `passed`.
    return None if value is None or value != value else round(float(value), 4)


def _place(detection: Detection) -> dict:
    return {
        "box": [round(float(value), 1) for value in detection.box],
        "score": round(detection.score, 4),
    }


def describe_place(detection: Detection) -> str:
    """Which place may show a face, and why it is in doubt; for people."""
    left, top, right, bottom = (round(float(value)) for value in detection.box)
    where = f"{right - left} x {bottom - top} pixels at ({left}, {top})"
    if np.ptp(detection.landmarks, axis=0).max() == 0:  # see `faces.truncated`
        return f"{where}, perhaps a face cut by the border"
    return f"{where}, score {detection.score:.2f} of {finding.SURE:g}"


def describe_failure(face: Face) -> str:
    """Which face could not be hidden, and why; for people."""
    left, top, right, bottom = (round(float(value)) for value in face.detection.box)
    where = f"{right - left} x {bottom - top} pixels at ({left}, {top})"
    failed = [check for check in face.checks if not check.passed]
    if not failed:
        return where
    check = failed[0]
    return (
        f"{where}, which {check.recognizer} still knows "
        f"({check.cosine:.2f}, allowed below {check.threshold:.2f})"
    )


def picture_record(
    state: str, faces: Sequence[Face], covered: Sequence[Detection] = ()
) -> dict:
    """State and faces of a picture, and the places where one may be."""
    return {
        "state": state,
        "faces": [face_record(face) for face in faces],
        "covered": [_place(detection) for detection in covered],
    }


def run_record(tools: Tools, **options) -> dict:
    """What a run was made with: models, settings, versions; no key.

    options: further settings, of files rather than faces.
    """
    settings = {
        "seed": tools.settings.seed,
        "strength": tools.settings.strength,
        "appearance": tools.settings.appearance,
        "det_threshold": tools.settings.det_threshold,
        "mask_scale": tools.settings.mask_scale,
        "max_attempts": tools.settings.max_attempts,
        "on_failure": tools.settings.on_failure,
        "keyed": tools.settings.key is not None,
        **options,
    }
    return {
        "model": {
            "sha256": tools.generator.fingerprint,
            "size": tools.generator.size,
            "steps": tools.generator.num_steps,
        },
        "recognizers": [
            {"name": r.name, "threshold": _rounded(r.threshold)}
            for r in tools.recognizers
        ],
        "settings": settings,
        "versions": {
            "id2face_jax": id2face_jax.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def totals(files: Sequence[FileRecord]) -> dict:
    """Counts by state, and how far faces are from being recognized.

    `recognized` counts faces in written pictures that a recognizer which was asked
    still matched to a source face. It is 0, since others are not written, and says
    nothing of other recognizers. `margins` says how much was left to the threshold.
    """
    faces = [face for file in files for face in file.faces]
    written = [f for file in files if file.state != "refused" for f in file.faces]
    checked = [face for face in written if face["checks"] and face["state"] != "kept"]
    matched = sum(not c["passed"] for face in checked for c in face["checks"])
    changed = [face for face in faces if face["state"] in ("anonymized", "fallback")]
    new = sum(face["state"] == "anonymized" for face in changed)
    return {
        "files": _counts(STATES, [file.state for file in files]),
        "faces": _counts(FACE_STATES, [face["state"] for face in faces]),
        "new_face": _share(new, len(changed)),
        "recognized": {"count": matched, "num": len(checked)},
        "margins": _quantiles(
            [f["margin"] for f in checked if f["margin"] is not None]
        ),
    }


def _quantiles(values: Sequence[float]) -> dict:
    if not values:
        return {"least": None, "twentieth": None, "median": None}
    found = np.quantile(values, (0.0, 0.05, 0.5))
    names = ("least", "twentieth", "median")
    return {n: round(float(v), 4) for n, v in zip(names, found, strict=True)}


def _counts(states: Sequence[str], found: Sequence[str]) -> dict:
    counts = Counter(found)
    return {state: counts[state] for state in states}


def _share(count: int, num: int) -> dict:
    """A share with its 95 % interval (Clopper and Pearson)."""
    if num == 0:
        return {"count": 0, "num": 0, "share": None, "low": None, "high": None}
    # Imported late: of a run it is the end, and scipy takes a second.
    from scipy import stats

    interval = stats.binomtest(count, num).proportion_ci(method="exact")
    low, high = interval.low, interval.high
    values = {"share": count / num, "low": low, "high": high}
    rounded = {name: round(float(value), 4) for name, value in values.items()}
    return {"count": count, "num": num} | rounded
