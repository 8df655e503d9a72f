"""An ONNX recognizer's pixels: from beside the file, from the list, or ArcFace's."""

import json

import numpy as np
import pytest

from id2face_jax.faces import pixels


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not in the list")
    return path


def test_an_unknown_file_gets_the_form_of_arcface(model):
    form = pixels.pixel_form(model)
    x = form(np.array([[[[0, 255, 51]]]], np.uint8))
    np.testing.assert_allclose(x[0, :, 0, 0], [-1, 1, -0.6], atol=1e-6)
    assert x.dtype == np.float32


def test_the_file_beside_it_decides(model):
    fields = {"channels": "BGR", "mean": [1, 2, 3], "std": [1, 2, 4]}
    model.with_name("model.onnx.json").write_text(json.dumps(fields))
    x = pixels.pixel_form(model)(np.array([[[[11, 12, 13]]]], np.uint8))
    np.testing.assert_allclose(x[0, :, 0, 0], [12, 5, 2])  # blue comes first


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"channels": "RGB"}',
        '{"channels": "RGBA", "mean": [0, 0, 0], "std": [1, 1, 1]}',
        '{"channels": "RGB", "mean": [0, 0], "std": [1, 1, 1]}',
        '{"channels": "RGB", "mean": [0, 0, 0], "std": [1, 0, 1]}',
    ],
)
def test_a_wrong_description_is_told_with_its_file(model, text):
    model.with_name("model.onnx.json").write_text(text)
    with pytest.raises(ValueError, match=r"model\.onnx\.json does not describe"):
        pixels.pixel_form(model)


def test_the_evaluation_recognizers_are_in_the_list(shared_data):
    forms = [
        pixels.pixel_form(shared_data / "models" / f"mobilefacenet-{name}.onnx")
        for name in ("ms1m", "y1")
    ]
    assert forms[0].std[0] == pytest.approx(0.229 * 255)
    assert forms[1].std[0] == 1.0
