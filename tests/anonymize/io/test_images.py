"""Every kind of picture file gives the right pixels or a clear error."""

import io
import struct
import subprocess
import zlib

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from id2face_jax.anonymize.io import images, metadata

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def scene():
    """Four flat quarters, which lossy formats keep: red, green / blue, gray."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:20, :30], pixels[:20, 30:] = (200, 30, 40), (30, 180, 60)
    pixels[20:, :30], pixels[20:, 30:] = (40, 60, 220), (120, 120, 120)
    return pixels


def quarters(pixels):
    """The colors at the middles of the quarters."""
    height, width = pixels.shape[:2]
    rows, columns = [height // 4, 3 * height // 4], [width // 4, 3 * width // 4]
    return pixels[np.ix_(rows, columns)].reshape(4, -1).astype(int)


def near(pixels, expected, tolerance=12):
    np.testing.assert_allclose(quarters(pixels), quarters(expected), atol=tolerance)


def save(path, image, **options):
    image.save(path, **options)
    return path


SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def stored_turned(pixels, orientation):
    """The stored picture that a viewer turns into `pixels`, and its EXIF.

    By EXIF's definition: where row 0 and column 0 of the stored picture are seen.
    """
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, 1),
        7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }[orientation]
    exif = PIL.Image.Exif()
    exif[274] = orientation
    image = PIL.Image.fromarray(np.ascontiguousarray(stored))
    return image, exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, scene, orientation):
    image, exif = stored_turned(scene, orientation)
    photo = images.read(save(tmp_path / "a.jpg", image, exif=exif, quality=95))
    near(photo.pixels, scene)
    again = PIL.Image.open(
        io.BytesIO(images.encode(photo, photo.pixels, ".jpg", "all"))
    )
    assert again.getexif().get(274, 1) == 1


KINDS = {
    "rgb.jpg": lambda image: (image, {}),
    "rgb.png": lambda image: (image, {}),
    "rgb.webp": lambda image: (image, {"lossless": True}),
    "rgb.bmp": lambda image: (image, {}),
    "rgb.avif": lambda image: (image, {}),
    "rgb.tif": lambda image: (image, {}),
    "palette.png": lambda image: (image.quantize(8), {}),
    "palette.gif": lambda image: (image.quantize(8), {}),
    "cmyk.jpg": lambda image: (image.convert("CMYK"), {"quality": 95}),
    "cmyk.tif": lambda image: (image.convert("CMYK"), {}),
    "ycbcr.tif": lambda image: (image.convert("YCbCr"), {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_colors_come_through(tmp_path, scene, name):
    image, options = KINDS[name](PIL.Image.fromarray(scene))
    path = save(tmp_path / name, image, **options)
    photo = images.read(path)
    near(photo.pixels, scene)
    assert not photo.is_gray and photo.alpha is None
    near(decoded(images.encode(photo, photo.pixels, path.suffix)), scene)


def decoded(content):
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("name", ["gray.jpg", "gray.png", "bits.png", "gray16.png"])
def test_gray_stays_gray(tmp_path, name):
    ramp = np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1))
    if name == "gray16.png":
        cv2.imwrite(str(tmp_path / name), np.uint16(ramp * 257))
    else:
        mode = "1" if name == "bits.png" else "L"
        save(tmp_path / name, PIL.Image.fromarray(np.uint8(ramp)).convert(mode))
    photo = images.read(tmp_path / name)
    assert photo.is_gray
    assert photo.pixels[5, 3].max() < 40 and photo.pixels[5, -3].min() > 200
    suffix = (tmp_path / name).suffix
    image = PIL.Image.open(io.BytesIO(images.encode(photo, photo.pixels, suffix)))
    assert image.mode == "L"


def test_sixteen_bit_color(tmp_path, scene):
    wide = scene.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), wide[..., ::-1])
    tifffile.imwrite(tmp_path / "a.tif", wide, photometric="rgb")
    near(images.read(tmp_path / "a.png").pixels, scene, tolerance=1)
    near(images.read(tmp_path / "a.tif").pixels, scene, tolerance=1)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg", ".gif"])
def test_alpha_stays_and_hidden_colors_go(tmp_path, scene, suffix):
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:20, :30] = 0
    image = PIL.Image.fromarray(np.dstack([scene, alpha]))
    photo = images.read(save(tmp_path / "a.png", image))
    # Fully transparent pixels may hold what nobody was meant to see.
    assert not photo.pixels[:20, :30].any()
    written = PIL.Image.open(io.BytesIO(images.encode(photo, photo.pixels, suffix)))
    corner = written.convert("RGBA").getpixel((5, 5))
    if suffix in (".jpg", ".gif"):
        assert min(corner[:3]) > 245  # on white
    else:
        assert corner[3] == 0
    near(np.asarray(written.convert("RGB"))[20:], scene[20:])


def test_transparent_color_of_a_palette(tmp_path, scene):
    image = PIL.Image.fromarray(scene).quantize(8)
    image.info["transparency"] = image.getpixel((5, 5))
    photo = images.read(save(tmp_path / "a.png", image))
    assert photo.alpha[5, 5] == 0 and photo.alpha[35, 55] == 255


def test_colors_become_srgb_and_no_profile_stays(tmp_path, scene):
    image = PIL.Image.fromarray(scene)
    # A profile whose red is green and whose green is red.
    turned = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ")
    turned = turned.replace(b"????", b"gXYZ").replace(b"\0s\0R\0G\0B", b"\0t\0R\0G\0B")
    for name, profile in (("same", SRGB), ("bad", b"damaged"), ("turned", turned)):
        for kind in ("RGB", "RGBA"):
            saved = image.convert(kind)
            photo = images.read(
                save(tmp_path / f"{name}.png", saved, icc_profile=profile)
            )
            content = images.encode(photo, photo.pixels, ".png")
            assert "icc_profile" not in PIL.Image.open(io.BytesIO(content)).info
            shown = scene[..., [1, 0, 2]] if name == "turned" else scene
            near(photo.pixels, shown, tolerance=12 if name == "turned" else 0)
    path = save(tmp_path / "c.jpg", image.convert("CMYK"), icc_profile=b"damaged")
    with pytest.raises(ValueError, match="profile is damaged"):
        images.read(path)


def test_only_documented_formats_are_opened(tmp_path, scene, monkeypatch):
    """EPS starts Ghostscript, and others read what they name."""
    image = PIL.Image.fromarray(scene)
    for kind in ("EPS", "PCX", "PPM", "TGA", "ICO"):
        image.save(tmp_path / "a.jpg", kind)
        with pytest.raises(ValueError, match="is not a picture that can be read"):
            images.read(tmp_path / "a.jpg")

    def fails(*args, **options):
        raise subprocess.CalledProcessError(1, "gs")

    monkeypatch.setattr(images, "decode", fails)
    with pytest.raises(ValueError, match="cannot be read"):
        images.read(save(tmp_path / "a.png", image))


def test_heic(tmp_path, scene):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = save(tmp_path / "a.heic", PIL.Image.fromarray(scene), quality=95)
    near(images.read(path).pixels, scene)
    path.rename(tmp_path / "b.jpg")  # as phones send it
    photo = images.read(tmp_path / "b.jpg")
    near(photo.pixels, scene)
    assert images.encode(photo, photo.pixels, ".heic")[4:8] == b"ftyp"


def test_further_views_of_a_photo_are_dropped_and_counted(tmp_path, scene):
    heif = pytest.importorskip("pillow_heif")
    file = heif.from_pillow(PIL.Image.fromarray(scene))
    file.add_from_pillow(PIL.Image.fromarray(scene[::-1].copy()))
    file.save(tmp_path / "a.heic", quality=95)
    photo = images.read(tmp_path / "a.heic")
    near(photo.pixels, scene)
    assert photo.num_views == 1
    content = images.encode(photo, photo.pixels, ".heic")
    again = images.read_stream(io.BytesIO(content), "again")
    assert again.num_views == 0


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"^a.heic: HEIC needs .* pip install -e '\.\[heic\]'$"
    ):
        images.read(tmp_path / "a.heic")


def png_of(width, height):
    """A PNG header that claims a size, and no pixels."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    empty = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + empty


def jpeg(scene):
    buffer = io.BytesIO()
    PIL.Image.fromarray(scene).save(buffer, "JPEG")
    return buffer.getvalue()


def animated(scene, kind):
    buffer = io.BytesIO()
    frames = [PIL.Image.fromarray(np.roll(scene, i, 1)) for i in (0, 9)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def float_tiff(scene):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.float32(scene[..., 0]))
    return buffer.getvalue()


BROKEN = {
    "empty.jpg": (lambda scene: b"", "is empty"),
    "text.jpg": (lambda scene: b"not a picture at all", "not a picture"),
    "truncated.jpg": (lambda scene: jpeg(scene)[:-300], "cannot be read.*[Tt]runcated"),
    "header.jpg": (lambda scene: jpeg(scene)[:30], "cannot be read|not a picture"),
    "nopixels.png": (lambda scene: png_of(60, 40), "cannot be read"),
    "bomb.png": (lambda scene: png_of(60_000, 60_000), "million pixels"),
    "bomb2.png": (lambda scene: png_of(20_000, 12_000), "million pixels"),
    "long.png": (lambda scene: png_of(40_000, 10), "40000 x 10 pixels"),
    "moves.gif": (lambda scene: animated(scene, "GIF"), "2 frames"),
    "moves.png": (lambda scene: animated(scene, "PNG"), "2 frames"),
    "moves.webp": (lambda scene: animated(scene, "WEBP"), "2 frames"),
    "pages.tif": (lambda scene: animated(scene, "TIFF"), "2 frames"),
    "float.tif": (float_tiff, "of the kind F"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_are_clear_errors(tmp_path, scene, name):
    make, message = BROKEN[name]
    (tmp_path / name).write_bytes(make(scene))
    with pytest.raises(ValueError, match=message) as error:
        images.read(tmp_path / name)
    assert name in str(error.value) and str(tmp_path) not in str(error.value)


def test_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="gone.jpg is not there"):
        images.read(tmp_path / "gone.jpg")


def test_twenty_thousand_pixels_wide(tmp_path):
    wide = np.zeros((60, 20_000, 3), np.uint8)
    photo = images.read(save(tmp_path / "a.jpg", PIL.Image.fromarray(wide)))
    assert photo.pixels.shape == wide.shape
    with pytest.raises(ValueError, match="WEBP cannot hold.*another suffix"):
        images.encode(photo, photo.pixels, ".webp")


def test_unknown_suffix_is_a_clear_error(scene):
    with pytest.raises(ValueError, match=".xyz is not a kind of picture"):
        images.encode(images.Photo(scene), scene, ".xyz")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_bytes_never_crash_the_door(tmp_path, scene, data):
    content = bytearray(data.draw(st.sampled_from(CONTENTS))(scene))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    end = data.draw(st.integers(0, len(content)))
    (tmp_path / "a.jpg").write_bytes(content[:end])
    try:
        photo = images.read(tmp_path / "a.jpg")
    except ValueError:
        return
    assert photo.pixels.dtype == np.uint8 and photo.pixels.ndim == 3


def other(kind):
    def make(scene):
        buffer = io.BytesIO()
        PIL.Image.fromarray(scene).save(buffer, kind)
        return buffer.getvalue()

    return make


CONTENTS = [jpeg, float_tiff, *map(other, ("PNG", "GIF", "TIFF", "WEBP", "BMP"))]


# Metadata


def rich_exif():
    """Camera, date, place, owner, a maker's note and a thumbnail."""
    exif = PIL.Image.Exif()
    exif[271], exif[306], exif[315] = "Camera", "2020:01:02 03:04:05", "Ann Author"
    exif[274] = 6
    exif.get_ifd(0x8769).update(
        {36867: "2020:01:02 03:04:05", 37500: b"preview" * 50, 42032: "Owner"}
    )
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0)})
    return exif


def with_thumbnail(scene):
    """A JPEG whose EXIF holds a picture of itself, as cameras write it."""
    thumbnail = jpeg(scene)
    exif = rich_exif()
    exif.get_ifd(1).update({259: 6, 513: 0, 514: len(thumbnail)})
    buffer = io.BytesIO()
    xmp = b"<x:xmpmeta>name of the person in the region</x:xmpmeta>"
    content = exif.tobytes() + thumbnail
    PIL.Image.fromarray(scene).save(buffer, "JPEG", exif=content, xmp=xmp)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("policy", metadata.POLICIES)
def test_metadata_policy(tmp_path, scene, suffix, policy):
    (tmp_path / "a.jpg").write_bytes(with_thumbnail(scene))
    photo = images.read(tmp_path / "a.jpg")
    content = images.encode(photo, photo.pixels, suffix, policy)
    exif = PIL.Image.open(io.BytesIO(content)).getexif()
    details, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    assert (271 in exif) == (36867 in details) == (policy != "strip")
    assert (315 in exif) == (42032 in details) == bool(place) == (policy == "all")
    # Under no policy: what may hold the original picture, or names of those in it.
    assert exif.get(274, 1) == 1 and 37500 not in details and not exif.get_ifd(1)
    for leak in (b"preview", b"xmpmeta", jpeg(scene)[-200:]):
        assert leak not in content


def test_unknown_policy_is_an_error():
    with pytest.raises(ValueError, match="strip, safe, all"):
        metadata.check_policy("some")
