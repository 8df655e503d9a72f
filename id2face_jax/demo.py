"""The demonstration: a portrait that everyone may use, anonymized before your eyes.

Owns the pictures, made from scikit-image's public-domain portrait of Eileen Collins
(NASA), and the sheet that shows them before and after. Everything between is what
`id2face anonymize` does.
"""

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
import skimage.data
from jaxtyping import UInt8

from id2face_jax import atomic
from id2face_jax.anonymize.batch import discovery, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.report.record import FileRecord

_SHEET_HEIGHT = 256  # pixels of a picture on the sheet


def pictures() -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Name to picture: one face, two that touch, turned ones, a small one."""
    portrait = skimage.data.astronaut()
    face = portrait[20:220, 125:325]
    near = np.concatenate([face[:, 30:145], face[:, 145:30:-1]], axis=1)
    return {
        "portrait": portrait,
        "two": np.concatenate([portrait, portrait[:, ::-1]], axis=1),
        "touching": cv2.copyMakeBorder(near, 60, 60, 60, 60, cv2.BORDER_REPLICATE),
        "turned20": _turned(portrait, 20.0),
        "turned90": np.ascontiguousarray(np.rot90(portrait)),
        "small": cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA),
    }


def _turned(image: UInt8[np.ndarray, "h w 3"], degrees: float):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(
        image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )


def run(anonymizer: Anonymizer, out: pathlib.Path) -> list[FileRecord]:
    """Writes before/, after/, sheet.png and report.json to `out`; returns the records.

    What an earlier demonstration left there is replaced.
    """
    for name, pixels in pictures().items():
        photo = images.Photo(pixels)
        before = out / "before" / f"{name}.png"
        atomic.write_atomically(before, images.encode(photo, pixels, ".png"))
    ledger = state.Ledger(out / state.REPORT_NAME)
    jobs = discovery.plan([out / "before"], out / "after")
    options = FileOptions(overwrite=True)
    records = runner.run(anonymizer, jobs, ledger, options, People())
    ledger.close()
    atomic.write_atomically(out / "sheet.png", _sheet(out, records))
    return records


def _sheet(out: pathlib.Path, records: Sequence[FileRecord]) -> bytes:
    """Before and after of every picture that was written, as a PNG."""
    columns = []
    for record in records:
        if record.output_sha256:
            pair = (pathlib.Path(record.input), out / record.output)
            rows = [_fitted(images.to_pixels(path)) for path in pair]
            columns.append(np.concatenate(rows))
    sheet = np.concatenate(columns, axis=1)
    return images.encode(images.Photo(sheet), sheet, ".png")


def _fitted(
    image: UInt8[np.ndarray, "h w 3"],
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    height, width = image.shape[:2]
    size = (round(width * _SHEET_HEIGHT / height), _SHEET_HEIGHT)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def table(records: Sequence[FileRecord]) -> str:
    """One line a face: picture, state, cosine to the source, threshold, attempts."""
    lines = [f"{'picture':10} {'state':10} {'cosine':>7} {'threshold':>9} attempts"]
    for record in records:
        name = pathlib.Path(record.input).stem
        for face in record.faces:
            cosine, threshold = (
                "-" if face[key] is None else f"{face[key]:.3f}"
                for key in ("cosine", "threshold")
            )
            lines.append(
                f"{name:10} {face['state']:10} {cosine:>7} {threshold:>9} "
                f"{face['attempts']:8}"
            )
        if not record.faces:
            lines.append(f"{name:10} {record.state:10} {record.message}")
    return "\n".join(lines)
