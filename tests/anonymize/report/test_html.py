"""report.html: what it shows, and that it shows no source."""

import base64
import io
import pathlib
import re

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest

from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.report import html
from tests.anonymize.folders import run


@pytest.fixture
def page(photos):
    """The page of a run over three photos, one of them spoiled."""
    (photos / "a.png").write_bytes(b"no picture")
    run()
    return pathlib.Path("out/report.html").read_text()


def thumbnails(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    opened = (PIL.Image.open(io.BytesIO(base64.b64decode(text))) for text in found)
    return [np.asarray(picture) for picture in opened]


def test_each_result_has_a_small_picture_and_a_refused_file_none(page):
    assert len(thumbnails(page)) == 2
    assert page.count("nothing written") == 1
    assert max(max(picture.shape) for picture in thumbnails(page)) <= 220


def test_pictures_are_of_results_with_boxes(photos, page):
    """The page of a result that somebody painted black is black, but for the boxes."""
    for path in pathlib.Path("out").rglob("*.jpg"):
        with PIL.Image.open(path) as picture:
            PIL.Image.new("RGB", picture.size).save(path)
    for path in pathlib.Path("out").rglob("*.png"):
        with PIL.Image.open(path) as picture:
            PIL.Image.new("RGB", picture.size).save(path)
    content = {"faces": [], "covered": [{"box": [10, 10, 40, 40], "score": 0.3}]}
    file = content | {"state": "fallback", "output": "b.jpg", "output_sha256": "x"}
    url = html._thumbnail(file | {"message": ""}, pathlib.Path("out"))
    (picture,) = thumbnails(f'src="{url}"')
    is_dark = picture.max(axis=-1) < 40
    assert 0.9 < is_dark.mean() < 0.999  # the outline of a box, no more


def test_a_large_result_is_shown_as_any_other(photos, monkeypatch):
    """Pillow's own limit is below ours, and must not end a run at its report."""
    with monkeypatch.context() as patch:
        patch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
        run()
    page = pathlib.Path("out/report.html").read_text()
    assert len(thumbnails(page)) == 3


def test_states_can_be_filtered_without_a_script(page):
    assert "<script" not in page and "http" not in page
    for name in ("anonymized", "refused"):
        assert f'id="show-{name}"' in page
        assert f"#show-{name}:checked ~ .file:not(.is-{name})" in page
    assert 'id="show-fallback"' not in page  # there is none


def test_similarity_is_told_in_words(page):
    assert (
        len(re.findall(r"from\s+0\.60 on it would count as the same person", page)) == 2
    )
    assert "a.png is not a picture that can be read" in page


def test_small_pictures_of_large_files_are_not_decoded_whole(tmp_path, monkeypatch):
    sizes, load = [], PIL.ImageFile.ImageFile.load

    def seen(self):
        sizes.append(self.size)
        return load(self)

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", seen)
    pixels = np.zeros((3000, 4000, 3), np.uint8)
    pixels[:, 2000:] = 200
    PIL.Image.fromarray(pixels).save(tmp_path / "a.jpg")
    picture, scale = images.read_small(tmp_path / "a.jpg", 220)
    assert picture.size == (220, 165) and scale == 220 / 4000
    assert max(max(size) for size in sizes) <= 1000
    assert np.asarray(picture)[40].std() > 90  # and still the picture
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="b.jpg is not a picture"):
        images.read_small(tmp_path / "b.jpg", 220)
