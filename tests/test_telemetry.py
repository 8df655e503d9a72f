"""Nothing tells others that this program is used."""

import os
import subprocess
import sys

CODE = """
import numpy as np
from id2face_jax.faces.detect import CenterFaceDetector
CenterFaceDetector()(np.zeros((64, 64, 3), np.uint8), 0.5)
"""


def test_detector_keeps_no_identifier_and_no_events(tmp_path):
    """onnxruntime writes both into these folders before it sends them."""
    private = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment.pop("XDG_CACHE_HOME", None)
    subprocess.run([sys.executable, "-c", CODE], env=environment | private, check=True)
    assert list(tmp_path.rglob("*")) == []
