"""Picture files to pixels and back, for every kind of file that people have.

Owns decoding (orientation applied, 8-bit sRGB, transparent pixels emptied) and encoding
(by the output's suffix). What cannot be read whole and right is an
error that says so. Leaves EXIF to `metadata`, and writing to `batch`.
"""

import contextlib
import dataclasses
import importlib.util
import io
import os
import pathlib
import subprocess
import warnings
from collections.abc import Iterator

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
from jaxtyping import UInt8

from id2face_jax import extras
from id2face_jax.anonymize.io import metadata

# Suffix -> Pillow's format. Chroma is not subsampled: new faces are small.
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **{".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF", ".avif": "AVIF"},
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".heic", ".heif"), "HEIF"),
}
_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"quality": 95},
    "BMP": {},
    "GIF": {},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_lzw"},
    "HEIF": {"quality": 92},
}
_NO_ALPHA = ("JPEG", "BMP", "GIF")
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")
# What is opened, whatever a file's name says: Pillow knows forty more formats, some of
# which start other programs. MPO is JPEG with a second view.
_OPENED = (*dict.fromkeys(FORMATS.values()), "MPO")
# Formats in which further pictures are other views of the first: stereo, depth, bursts.
_VIEWS = ("MPO", "HEIF")
# 600 MB as RGB; a bomb has more. OpenCV cannot warp pictures with longer sides.
MAX_PIXELS, MAX_SIDE = 200_000_000, 32_000
_MAX_DENSITY = 65_535  # dots an inch, what JPEG can hold
# What Pillow's readers raise on damaged files.
_DAMAGES = (
    *(OSError, SyntaxError, EOFError, IndexError, KeyError, TypeError),
    subprocess.SubprocessError,
)


@dataclasses.dataclass(frozen=True)
class Photo:
    """A decoded picture.

    Attributes:
      pixels: sRGB, upright.
      alpha: opacity, if any pixel is not opaque.
      is_gray: the file had no color; pixels then have three equal channels.
      exif: as found.
      num_views: further views of the scene in the file, which are dropped.
      density: dots an inch, across and down, at which it is to be printed.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    alpha: UInt8[np.ndarray, "h w"] | None = None
    is_gray: bool = False
    exif: PIL.Image.Exif = dataclasses.field(default_factory=PIL.Image.Exif)
    num_views: int = 0
    density: tuple[float, float] | None = None


def read(path: str | os.PathLike) -> Photo:
    """The picture in a file.

    Raises ValueError, naming what is wrong, for all that is not one still picture.
    """
    name = pathlib.Path(path).name
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        raise ValueError(f"{name} is not there") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    with file:
        return read_stream(file, name)


def read_stream(
    file: io.BufferedIOBase, name: str, max_pixels: int = MAX_PIXELS
) -> Photo:
    """As `read`, of a file that is open or in memory; `name` is for the errors."""
    with _opened(file, name, max_pixels) as image:
        return decode(image, max_pixels)


def read_small(path: pathlib.Path, side: int) -> tuple[PIL.Image.Image, float]:
    """One of our own results in RGB, at most `side` large, and by what it was scaled.

    JPEG is decoded at a fraction of its size, which takes a fraction of the time.
    """
    with open(path, "rb") as file, _opened(file, path.name, MAX_PIXELS) as image:
        width = image.width
        if image.mode == "P":
            image = image.convert("RGB")
        image.thumbnail((side, side))
        return image.convert("RGB"), image.width / width


@contextlib.contextmanager
def _opened(
    file: io.BufferedIOBase, name: str, max_pixels: int
) -> Iterator[PIL.Image.Image]:
    """The picture in a file, its pixels not read yet; all errors become ValueError."""
    try:
        if _is_heif(file):
            _need_heif()
        PIL.Image.init()
        # Pillow may be built without one of them.
        known = [kind for kind in _OPENED if kind in PIL.Image.OPEN]
        with _size_limit(max_pixels), PIL.Image.open(file, formats=known) as image:
            yield image
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise ValueError(
            f"{name} has more than {max_pixels / 1e6:.0f} million pixels; make it "
            "smaller"
        ) from None
    except PIL.UnidentifiedImageError:
        empty = file.seek(0, io.SEEK_END) == 0
        reason = "is empty" if empty else "is not a picture that can be read"
        raise ValueError(f"{name} {reason}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    except _DAMAGES as error:
        raise ValueError(f"{name} cannot be read: {error}") from error


def decode(image: PIL.Image.Image, max_pixels: int = MAX_PIXELS) -> Photo:
    """A PIL image as a `Photo`."""
    is_many = getattr(image, "is_animated", False)
    if is_many and image.format not in _VIEWS:
        raise ValueError(
            f"it has {image.n_frames} frames; split it into single pictures, or make "
            "it a video"
        )
    num_views = image.n_frames - 1 if is_many else 0
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ValueError(
            f"it has {width} x {height} pixels; at most {max_pixels / 1e6:.0f} million "
            f"and {MAX_SIDE} on a side can be worked on"
        )
    profile, exif = image.info.get("icc_profile"), image.getexif()
    # Asked before the pixels are: Pillow turns TIFFs itself, and forgets that it did.
    is_turned = exif.get(PIL.ExifTags.Base.Orientation) in range(5, 9)
    image.load()
    mode, density = image.mode, _density(image)
    if mode == "CMYK":
        image = _inks_to_srgb(image, profile)
    elif mode.startswith("I"):
        image = _from_16_bits(image)
    is_gray = image.mode in ("1", "L", "LA", "La")
    has_alpha = image.mode in ("RGBA", "RGBa", "LA", "La", "PA")
    has_alpha = has_alpha or "transparency" in image.info
    if image.mode not in _MODES:
        raise ValueError(f"its pixels are of the kind {mode}; convert it to RGB")
    # RGBa and La: Pillow has no direct way to RGB.
    image = image.convert("RGBA" if has_alpha else "RGB")
    if mode != "CMYK":
        image = _to_srgb(image, profile, is_gray)
    image = _upright(image, exif)
    pixels, alpha = np.array(image), None
    if has_alpha:
        pixels, alpha = np.ascontiguousarray(pixels[..., :3]), pixels[..., 3].copy()
        # What nobody sees may still be a face: colors under full transparency go.
        pixels[alpha == 0] = 0
        alpha = None if np.all(alpha == 255) else alpha
    if density is not None and is_turned:
        density = density[::-1]
    return Photo(pixels, alpha, is_gray, exif, num_views, density)


def to_pixels(image: PIL.Image.Image | str | os.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    """The upright RGB pixels of a PIL image or a file; see `read` for the errors."""
    photo = decode(image) if isinstance(image, PIL.Image.Image) else read(image)
    return photo.pixels


def encode(
    photo: Photo,
    pixels: UInt8[np.ndarray, "h w 3"],
    suffix: str,
    policy: str = "strip",
) -> bytes:
    """A picture file of new pixels that is otherwise like the source.

    Args:
      photo: the source: its alpha, grayness, EXIF and density.
      pixels: of the same height and width.
      suffix: of the output, a key of FORMATS; ".JPG" is as good as ".jpg".
      policy: which EXIF stays, see `metadata`.
    """
    kind = output_format(suffix)
    if kind == "HEIF":
        _need_heif()
    image = PIL.Image.fromarray(pixels)
    if photo.alpha is not None:
        image.putalpha(PIL.Image.fromarray(photo.alpha))
        if kind in _NO_ALPHA:
            ground = PIL.Image.new("RGBA", image.size, "white")
            image = PIL.Image.alpha_composite(ground, image).convert("RGB")
    if photo.is_gray and kind not in ("WEBP", "AVIF", "HEIF"):
        image = image.convert("LA" if image.mode == "RGBA" else "L")
    options = dict(_OPTIONS[kind])
    exif = metadata.kept(photo.exif, policy)
    if exif is not None and kind not in ("BMP", "GIF"):
        options["exif"] = exif.tobytes()
        # Pillow's compressed TIFFs cannot hold EXIF's directories.
        options.pop("compression", None)
    if photo.density is not None:
        options["dpi"] = photo.density  # formats without one take no notice
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{kind} cannot hold this picture of {image.width} x {image.height} pixels "
            f"({error}); use another suffix, .png or .tif"
        ) from None
    return buffer.getvalue()


def output_format(suffix: str) -> str:
    """Pillow's name of a suffix's format; raises ValueError if there is none."""
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise ValueError(
            f"{suffix or 'no suffix'} is not a kind of picture that can be written; "
            f"use one of {' '.join(FORMATS)}"
        )
    return kind


def _density(image: PIL.Image.Image) -> tuple[float, float] | None:
    """Dots an inch as the file says, if a printer could use them."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    is_usable = 1 <= min(across, down) and max(across, down) <= _MAX_DENSITY
    return (across, down) if is_usable else None


@contextlib.contextmanager
def _size_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's own guard against bombs, as an error and at our limit."""
    before = PIL.Image.MAX_IMAGE_PIXELS
    PIL.Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            # Damaged EXIF and such: the picture still counts. A bomb does not.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            yield
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = before


def _is_heif(file: io.BufferedIOBase) -> bool:
    # By content: phones send such files with the suffix .jpg.
    header = file.read(12)
    file.seek(0)
    return header[4:8] == b"ftyp" and header[8:11] in (b"hei", b"hev", b"mif", b"msf")


def _need_heif() -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        raise ValueError(
            f"HEIC needs the package pillow-heif; run: {extras.pip_line('heic')}"
        )
    import pillow_heif  # optional, so not at the top

    pillow_heif.register_heif_opener()


def _inks_to_srgb(image: PIL.Image.Image, profile: bytes | None) -> PIL.Image.Image:
    if profile is None:
        return image.convert("RGB")
    try:
        return _transformed(image, profile)
    except (PIL.ImageCms.PyCMSError, OSError) as error:
        raise ValueError(f"its color profile is damaged: {error}") from None


def _to_srgb(
    image: PIL.Image.Image, profile: bytes | None, is_gray: bool
) -> PIL.Image.Image:
    """RGB or RGBA in a profile's colors as sRGB.

    A profile is never written: it can hold anything, a picture too. One that cannot be
    used, as it is damaged or for other pixels, is left out, as viewers do.
    """
    if profile is None:
        return image
    try:
        opened = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if PIL.ImageCms.getProfileDescription(opened).startswith("sRGB"):
            return image
        new = _transformed(image.convert("L" if is_gray else "RGB"), profile)
    except (PIL.ImageCms.PyCMSError, OSError):
        return image
    if image.mode == "RGBA":
        new.putalpha(image.getchannel("A"))
    return new


def _transformed(image: PIL.Image.Image, profile: bytes) -> PIL.Image.Image:
    return PIL.ImageCms.profileToProfile(
        image,
        PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        PIL.ImageCms.createProfile("sRGB"),
        outputMode="RGB",
    )


def _upright(image: PIL.Image.Image, exif: PIL.Image.Exif) -> PIL.Image.Image:
    orientation = exif.get(PIL.ExifTags.Base.Orientation)
    if orientation not in range(2, 9):
        return image
    # Of damaged EXIF, which Pillow could not write again, only this is read.
    turn, bare = PIL.Image.Exif(), image.copy()
    turn[PIL.ExifTags.Base.Orientation] = orientation
    bare.info = {"exif": turn.tobytes()}
    return PIL.ImageOps.exif_transpose(bare)


def _from_16_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"its values run from {values.min()} to {values.max()}; expected 16 bits"
        )
    return PIL.Image.fromarray((values >> 8).astype(np.uint8))
