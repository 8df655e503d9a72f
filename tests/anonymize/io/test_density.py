"""Photos are printed as large as before."""

import io

import numpy as np
import PIL.Image
import pytest

from id2face_jax.anonymize.io import images


@pytest.fixture
def scene():
    return np.full((40, 60, 3), 90, np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_print_density_stays(tmp_path, scene, suffix):
    """A passport photo of 35 mm is still printed at 35 mm, turned as it may be."""
    path = tmp_path / f"photo{suffix}"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    PIL.Image.fromarray(scene).save(path, dpi=(600, 300), exif=exif.tobytes())
    photo = images.read(path)
    new = images.encode(photo, photo.pixels, suffix)
    with PIL.Image.open(io.BytesIO(new)) as image:
        found = [float(value) for value in image.info["dpi"]]
    np.testing.assert_allclose(found, (300, 600), atol=0.5)


@pytest.mark.parametrize("density", [(0, 0), (float("nan"), 300.0), "300", (1e9, 1e9)])
def test_density_that_no_printer_has_is_left_out(scene, density):
    image = PIL.Image.fromarray(scene)
    image.info["dpi"] = density
    photo = images.decode(image)
    assert photo.density is None
    assert images.encode(photo, photo.pixels, ".jpg")
