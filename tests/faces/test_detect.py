"""The detector on the astronaut: upright, turned, small, large, absent."""

import cv2
import numpy as np
import pytest

from id2face_jax.faces import align, detect
from id2face_jax.faces.detect import CenterFaceDetector


def eye_distance(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[0] - landmarks[1]))


def test_one_face_with_points_in_their_order(face):
    x0, y0, x1, y1 = face.box
    left, right, nose, left_mouth, right_mouth = face.landmarks
    assert face.score > 0.8 and face.landmarks.dtype == np.float32
    assert left[0] < nose[0] < right[0] and left_mouth[0] < right_mouth[0]
    assert left[1] < nose[1] < left_mouth[1]
    assert np.all((face.landmarks > [x0, y0]) & (face.landmarks < [x1, y1]))
    np.testing.assert_allclose(left, [203, 102], atol=4)


@pytest.mark.parametrize("angle", [30, 90, 180, 240])
def test_points_turn_with_the_face(detector, astronaut, face, angle):
    matrix = cv2.getRotationMatrix2D((255.5, 255.5), angle, 1.0)
    (found,) = detector(cv2.warpAffine(astronaut, matrix, (512, 512)))
    wanted = align.transform_points(matrix, face.landmarks)
    # A second look turns the face upright; without it eyes come out at half their
    # distance when the face lies on its side.
    off = np.abs(found.landmarks - wanted).max() / eye_distance(wanted)
    assert off < 0.15


@pytest.mark.parametrize("scale", [0.125, 0.25, 0.5, 2.0])
def test_points_scale_with_the_face(detector, astronaut, face, scale):
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=method)
    (found,) = detector(resized)
    points = (found.landmarks + 0.5) / scale - 0.5
    assert np.abs(points - face.landmarks).max() / eye_distance(face.landmarks) < 0.15


def test_several_faces_come_largest_first(detector, astronaut):
    half = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    canvas = np.full((512, 800, 3), 127, np.uint8)
    canvas[100:356, 540:796] = half
    canvas[:, :512] = astronaut
    first, second = detector(canvas)
    assert first.area > 2 * second.area
    assert first.box[2] < 512 < second.box[0]


@pytest.mark.parametrize("shape", [(33, 501), (1, 1), (700, 3)])
def test_no_face_in_pictures_of_any_shape(detector, shape):
    assert detector(np.full((*shape, 3), 90, np.uint8)) == []


def test_a_higher_threshold_finds_less(detector, astronaut, face):
    assert detector(astronaut, threshold=face.score + 0.01) == []


def test_small_photos_may_be_enlarged_less(astronaut, face):
    crop = align.crop(astronaut, align.crop_matrix(face.landmarks, 128), 128)
    (found,) = CenterFaceDetector(min_long_side=128)(crop)
    assert np.abs(found.landmarks - align.template(128)).max() < 6


def test_another_model_file_is_refused(monkeypatch, tmp_path):
    file = tmp_path / "centerface.onnx"
    file.write_bytes(b"something else")
    monkeypatch.setattr(detect, "_model_path", lambda: file)
    with pytest.raises(ValueError, match="requirements.txt pins"):
        CenterFaceDetector()


@pytest.mark.parametrize(
    "file, count",
    [("groups/astronauts-23-faces.jpg", 23), ("groups/city-17-small-faces.jpg", 17)],
)
def test_all_faces_of_a_group(detector, shared_data, file, count):
    image = cv2.imread(str(shared_data / file))[..., ::-1]
    assert len(detector(np.ascontiguousarray(image))) == count
