"""What the evidence is taken from: people's photos under numbers, odd files, a clip.

Odd files and clip show scikit-image's public-domain astronaut, except for one in which
two of the people stand so close that their faces touch.
"""

import hashlib
import io
import pathlib
import shutil
from collections.abc import Sequence

import av
import cv2
import numpy as np
import PIL.Image
import skimage.data

_PORTRAIT = skimage.data.astronaut()
_FACE = np.ascontiguousarray(_PORTRAIT[:300, 80:380])
_ORIENTATION = 274
# EXIF orientation -> what turns an upright picture into the stored one.
_STORED = {
    1: None,
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_90,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_270,
}
CLIP_RATE, CLIP_SECONDS, _CLIP_SIZE = 12, 3, 256
_SOUND_RATE = 8000


def photos_of(people: pathlib.Path) -> list[pathlib.Path]:
    """The photos of a folder PERSON/PHOTO.jpg, in an order that nobody chose.

    By a hash of their paths; one of each person before a second one of anybody.
    """
    photos = [p for p in people.glob("*/*") if p.suffix.lower() in (".jpg", ".png")]
    photos.sort(key=lambda p: hashlib.sha256(bytes(p.relative_to(people))).digest())
    rounds: dict[str, int] = {}
    order = []
    for photo in photos:
        number = rounds[photo.parent.name] = rounds.get(photo.parent.name, -1) + 1
        order.append((number, len(order), photo))
    if len(rounds) < 2:
        raise SystemExit(f"{len(rounds)} people in {people}; give PERSON/PHOTO.jpg")
    return [photo for _, _, photo in sorted(order)]


def copy(photos: Sequence[pathlib.Path], out: pathlib.Path) -> None:
    """Copies photos to out/000.jpg, ...: their names stay behind."""
    out.mkdir(parents=True)
    for index, photo in enumerate(photos):
        shutil.copyfile(photo, out / f"{index:03d}{photo.suffix.lower()}")


def write_odd(out: pathlib.Path, touching: np.ndarray) -> None:
    """Writes the odd files; `touching` is a picture of two faces that touch."""
    out.mkdir(parents=True)
    face = PIL.Image.fromarray(_FACE)
    whole = _encoded(face, "JPEG", quality=95)
    files = {
        "truncated.jpg": whole[: len(whole) // 2],
        "zero-byte.jpg": b"",
        "text.jpg": b"no picture",
        "16-bit.png": _png(_FACE[..., ::-1].astype(np.uint16) * 257),
        "cmyk.jpg": _encoded(face.convert("CMYK"), "JPEG", quality=95),
        "gray.png": _encoded(face.convert("L"), "PNG"),
        "alpha.png": _encoded(face.convert("RGBA"), "PNG"),
        "palette.png": _encoded(face.convert("P"), "PNG"),
        "animated.gif": _encoded(
            face.convert("P"), "GIF", save_all=True, append_images=[face.rotate(5)]
        ),
        "no-face.png": _png(skimage.data.brick()),
        "spoon.png": _png(skimage.data.coffee()[..., ::-1]),
        "touching.png": _png(touching[..., ::-1]),
        "tiny.png": _png(_tiny()[..., ::-1]),
    }
    for orientation in range(1, 9):
        files[f"exif-{orientation}.jpg"] = _turned(face, orientation)
    for name, content in files.items():
        (out / name).write_bytes(content)


def join(
    first: np.ndarray, box: np.ndarray, second: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """The faces of two pictures side by side, cheek to cheek."""
    faces = []
    for image, (left, top, right, bottom) in ((first, box), (second, other)):
        left, right = max(int(left), 0), int(right)
        reach = int(bottom - top) // 5
        strip = image[max(int(top) - reach, 0) : int(bottom) + reach, left:right]
        faces.append(cv2.resize(strip, (120, 200), interpolation=cv2.INTER_AREA))
    both = np.concatenate(faces, axis=1)
    return cv2.copyMakeBorder(both, 60, 60, 60, 60, cv2.BORDER_REPLICATE)


def _encoded(image: PIL.Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png(bgr: np.ndarray) -> bytes:
    return cv2.imencode(".png", bgr)[1].tobytes()


def _tiny() -> np.ndarray:
    """A face of 14 pixels."""
    picture = cv2.resize(skimage.data.rocket(), (450, 300))
    small = cv2.resize(_PORTRAIT, (80, 80), interpolation=cv2.INTER_AREA)
    picture[200:280, 350:430] = small
    return picture


def _turned(face: PIL.Image.Image, orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[_ORIENTATION] = orientation
    turn = _STORED[orientation]
    stored = face if turn is None else face.transpose(turn)
    return _encoded(stored, "JPEG", quality=95, exif=exif)


def write_clip(path: pathlib.Path) -> None:
    """A clip with sound: the camera goes over the portrait, and closer, and back."""
    num = CLIP_RATE * CLIP_SECONDS
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=CLIP_RATE)
        stream.width = stream.height = _CLIP_SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        voice = container.add_stream("aac", rate=_SOUND_RATE)
        wave = np.sin(np.arange(_SOUND_RATE * CLIP_SECONDS) / 9).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(wave[None] / 4, "fltp", "mono")
        sound.sample_rate, sound.pts = _SOUND_RATE, 0
        container.mux(voice.encode(sound) + voice.encode())
        for index in range(num):
            turn = 2 * np.pi * index / num
            scale = 0.75 + 0.25 * np.cos(turn)  # of the picture that is in view, halved
            center = np.float64([226 + 40 * np.sin(turn), 150 + 20 * np.sin(2 * turn)])
            zoom = _CLIP_SIZE / (340 * scale)
            matrix = np.array([[zoom, 0, 0], [0, zoom, 0]])
            matrix[:, 2] = _CLIP_SIZE / 2 - zoom * center
            pixels = cv2.warpAffine(
                _PORTRAIT,
                matrix,
                (_CLIP_SIZE, _CLIP_SIZE),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
