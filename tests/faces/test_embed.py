"""Recognizers: what any must hold to, dlib's on the astronaut, and an ONNX file."""

import cv2
import numpy as np
import pytest

from id2face_jax.faces import align, embed, whitening
from id2face_jax.faces.embed import DlibRecognizer, OnnxRecognizer, make_recognizer


@pytest.fixture(scope="module")
def dlib_recognizer() -> DlibRecognizer:
    return DlibRecognizer()


@pytest.fixture(scope="module")
def vector(dlib_recognizer, astronaut, face) -> np.ndarray:
    return dlib_recognizer([astronaut], face.landmarks[None])[0]


def test_vectors_are_unit_float32(dlib_recognizer, vector):
    assert vector.shape == (dlib_recognizer.dim,) and vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_no_faces_give_no_vectors(dlib_recognizer):
    found = dlib_recognizer([], np.zeros((0, 5, 2), np.float32))
    assert found.shape == (0, dlib_recognizer.dim)


def test_a_vector_does_not_depend_on_its_company(
    dlib_recognizer, astronaut, face, vector
):
    others = [np.roll(astronaut, 20 * i, axis=1) for i in range(5)]
    images = [*others, astronaut]
    found = dlib_recognizer(images, np.repeat(face.landmarks[None], 6, axis=0))
    np.testing.assert_allclose(found[-1], vector, atol=1e-5)


def test_photo_and_crop_show_one_person(dlib_recognizer, astronaut, face, vector):
    matrix = align.crop_matrix(face.landmarks, 128)
    crop = align.crop(astronaut, matrix, 128)
    points = align.transform_points(matrix, face.landmarks).astype(np.float32)
    small = cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    found = dlib_recognizer(
        [crop, small], np.stack([points, (face.landmarks + 0.5) / 2 - 0.5])
    )
    assert np.all(found @ vector > 0.9)


def test_a_mirror_image_is_the_same_person(dlib_recognizer, astronaut, face, vector):
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    points = face.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [astronaut.shape[1] - 1, 0]
    found = dlib_recognizer([mirrored], points[None].astype(np.float32))[0]
    # Not 1: the template is not quite symmetric, so the views differ a little.
    assert found @ vector > 0.97


def test_name_and_threshold_are_those_of_the_fitted_map(dlib_recognizer):
    fitted = whitening.load()
    assert fitted.fingerprint() in dlib_recognizer.name
    assert dlib_recognizer.threshold == fitted.threshold


@pytest.mark.parametrize("same", [True, False])
def test_people_differ_and_one_person_does_not(
    dlib_recognizer, detector, shared_data, same
):
    folder = shared_data / "portraits"
    names = ["lisa_lisa1", "lisa_lisa4" if same else "composite_m_african"]
    images = [cv2.imread(str(folder / f"{name}.jpg"))[..., ::-1] for name in names]
    images = [np.ascontiguousarray(image) for image in images]
    points = np.stack([detector(image)[0].landmarks for image in images])
    first, second = dlib_recognizer(images, points)
    assert (first @ second > dlib_recognizer.threshold) == same


def _message(tag: int, content: bytes) -> bytes:
    size, length = b"", len(content)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([tag << 3 | 2]) + size + bytes([length]) + content


def _onnx(shape: tuple[int, ...]) -> bytes:
    """An ONNX file that averages the image: (b, 3, h, w) to (b, 3), by wire format."""

    def info(name: bytes, sizes) -> bytes:
        dims = b"".join(
            _message(1, b"\x12\x01b" if size is None else bytes([8, size]))
            for size in sizes
        )
        kind = _message(2, _message(1, b"\x08\x01" + _message(2, dims)))
        return _message(1, name) + kind

    def node(kind: bytes, source: bytes, result: bytes) -> bytes:
        return _message(1, source) + _message(2, result) + _message(4, kind)

    graph = (
        _message(1, node(b"GlobalAveragePool", b"x", b"m"))
        + _message(1, node(b"Flatten", b"m", b"y"))
        + _message(2, b"g")
        + _message(11, info(b"x", shape))
        + _message(12, info(b"y", (shape[0], shape[1])))
    )
    return b"\x08\x08" + _message(7, graph) + _message(8, b"\x10\x0d")


@pytest.mark.parametrize("batch", [1, None], ids=["one at a time", "any batch"])
def test_an_onnx_file_reads_the_plain_template(tmp_path, batch):
    path = tmp_path / "arcface.onnx"
    path.write_bytes(_onnx((batch, 3, 112, 112)))
    recognizer = make_recognizer(str(path))
    assert isinstance(recognizer, OnnxRecognizer) and recognizer.dim == 3
    # Red inside the 112-unit template, blue outside it.
    image = np.zeros((160, 160, 3), np.uint8)
    image[..., 2] = 255
    x0, y0 = (np.array([80, 80]) - [56, 64]).astype(int)
    image[y0 : y0 + 112, x0 : x0 + 112] = (255, 0, 0)
    points = np.repeat(align.template(160)[None], 3, axis=0)
    found = recognizer([image] * 3, points)
    wanted = np.array([1, -1, -1]) / np.sqrt(3)
    np.testing.assert_allclose(found, np.repeat(wanted[None], 3, axis=0), atol=0.03)
    assert recognizer([], np.zeros((0, 5, 2), np.float32)).shape == (0, 3)


def test_an_onnx_file_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(_onnx((1, 3, 64, 64)))
    with pytest.raises(ValueError, match="expected one input"):
        OnnxRecognizer(path)


@pytest.mark.parametrize("spec", ["arcface", "nowhere.onnx", ""])
def test_an_unknown_recognizer_is_refused(spec):
    with pytest.raises(ValueError, match="expected `dlib` or the path"):
        embed.make_recognizer(spec)
