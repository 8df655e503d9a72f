"""What `import id2face_jax` gives, and what it costs."""

import subprocess
import sys

import pytest

import id2face_jax


def test_import_loads_nothing_heavy():
    code = (
        "import sys, id2face_jax\n"
        "heavy = {'jax', 'numpy', 'cv2', 'onnxruntime', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from id2face_jax import Anonymizer\n"
        "assert 'jax' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_listed():
    from id2face_jax.anonymize.pipeline import anonymizer, options
    from id2face_jax.generation import exports, generate, photos

    assert id2face_jax.Anonymizer is anonymizer.Anonymizer
    assert id2face_jax.Result is anonymizer.Result
    assert id2face_jax.FaceOptions is options.FaceOptions
    assert id2face_jax.Faces is generate.Faces
    assert id2face_jax.generate is generate.generate
    assert id2face_jax.open_faces is photos.open_faces
    assert id2face_jax.load_weights is exports.load_weights
    assert set(id2face_jax.__all__) <= set(dir(id2face_jax))


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="Anonymous"):
        id2face_jax.Anonymous  # noqa: B018
