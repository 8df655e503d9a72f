"""Fixtures of the face tests: the detector, and the one face we may show."""

import numpy as np
import pytest
from skimage import data

from id2face_jax.faces.detect import CenterFaceDetector, Detection


@pytest.fixture(scope="session")
def detector() -> CenterFaceDetector:
    """The detector with its defaults."""
    return CenterFaceDetector()


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """scikit-image's public-domain portrait, (512, 512, 3)."""
    return data.astronaut()


@pytest.fixture(scope="session")
def face(detector, astronaut) -> Detection:
    """The astronaut's face."""
    (found,) = detector(astronaut)
    return found
