"""Good files to be damaged: pictures, clips, and datasets with labels of each kind.

All show faces that only the stand-ins of the tests take for faces.
"""

import io
import json
import pathlib
import tarfile

import numpy as np
import PIL.Image

from id2face_jax.anonymize.io import images
from tests.anonymize import clips as made
from tests.anonymize import planted

VECTOR = " ".join(f"{x:.4f}" for x in np.random.default_rng(1).normal(size=64))
# What labels hold beside it, and must lose.
_SECRET = {"embedding": [float(x) for x in VECTOR.split()], "sha256": "0a" * 32}


def pictures() -> dict[str, bytes]:
    """Name to content, of each format and of several ways to write it."""
    image = PIL.Image.fromarray(planted.picture(0))
    exif = PIL.Image.Exif()
    exif[270], exif[306] = "a face", "2026:01:01 00:00:00"
    found = {}
    for suffix, kind in images.FORMATS.items():
        if kind in PIL.Image.SAVE:
            found[f"plain{suffix}"] = _encoded(image, kind)
    found |= {
        "exif.jpg": _encoded(image, "JPEG", exif=exif, dpi=(300, 300)),
        "progressive.jpg": _encoded(image, "JPEG", progressive=True, quality=90),
        "gray.jpg": _encoded(image.convert("L"), "JPEG"),
        "ink.jpg": _encoded(image.convert("CMYK"), "JPEG"),
        "palette.png": _encoded(image.convert("P"), "PNG"),
        "clear.png": _encoded(image.convert("RGBA"), "PNG"),
        "packed.tif": _encoded(image, "TIFF", compression="tiff_lzw"),
        "lossless.webp": _encoded(image, "WEBP", lossless=True),
    }
    return found


def _encoded(image: PIL.Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def clips(folder: pathlib.Path) -> dict[str, bytes]:
    """Name to content, of each container, with and without sound."""
    found = {}
    for name, sound in (
        *(("a.mp4", True), ("b.mov", False), ("c.mkv", True)),
        *(("d.webm", False), ("e.avi", False)),
    ):
        path = made.write_clip(folder / name, num=12, sound=sound)
        found[name] = path.read_bytes()
        path.unlink()
    return found


def datasets() -> dict[str, tuple[dict[str, bytes], list[str], list[str]]]:
    """Kind to files, arguments of the command, and which files are to be damaged."""
    one, two = (
        _encoded(PIL.Image.fromarray(planted.picture(i)), "PNG") for i in (1, 2)
    )
    coco = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 220, "height": 200} | _SECRET
            for i in (1, 2)
        ],
        "annotations": [
            {"id": i, "image_id": i, "bbox": [40, 30, 90, 90], "category_id": 1}
            for i in (1, 2)
        ],
        "categories": [{"id": 1, "name": "face"}],
    }
    corners = {"xmin": 40, "ymin": 30, "xmax": 130, "ymax": 120}
    box = "".join(f"<{name}>{value}</{name}>" for name, value in corners.items())
    voc = (
        "<annotation><filename>1.png</filename><size><width>220</width><height>200"
        f"</height></size><embedding>{VECTOR}</embedding><object><name>face</name>"
        f"<bndbox>{box}</bndbox></object></annotation>"
    )
    table = f"file,person,embedding\n1.png,ann,{VECTOR}\n2.png,ben,{VECTOR}\n"
    columns = ["--format", "csv", "--columns", "person", "--columns", "embedding"]
    yolo = b"names: [face]\ntrain: images\nval: images\n"
    return {
        "coco": (
            {"1.png": one, "2.png": two, "labels.json": json.dumps(coco).encode()},
            [],
            ["labels.json"],
        ),
        "voc": (
            {"JPEGImages/1.png": one, "Annotations/1.xml": voc.encode()},
            [],
            ["Annotations/1.xml"],
        ),
        "yolo": (
            {"images/1.png": one, "labels/1.txt": b"0 .5 .5 .2 .2\n", "a.yaml": yolo},
            [],
            ["labels/1.txt", "a.yaml"],
        ),
        "csv": (
            {"1.png": one, "2.png": two, "a.csv": table.encode()},
            columns,
            ["a.csv"],
        ),
        "webdataset": ({"a.tar": _archive(one, two)}, [], ["a.tar"]),
    }


def _archive(one: bytes, two: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (
            *(("1.png", one), ("1.json", json.dumps(_SECRET | {"a": 1}).encode())),
            *(("2.png", two), ("2.txt", f"a face\nembedding: {VECTOR}\n".encode())),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
