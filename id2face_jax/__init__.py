"""id2face_jax: identity-decoupled diffusion for face anonymization (JAX/Flax).

An implementation of the ideas of ID2Face (arXiv 2510.24213). See docs/method.md
for what the paper states, what is chosen here and what is measured here.

>>> from id2face_jax import Anonymizer, FaceOptions
"""

import importlib
import os

# onnxruntime 1.32 keeps an identifier of the device and reports its use to its maker
# unless it finds this when it is first imported; a tool for privacy tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

# Loaded when they are first asked for: `id2face --help` must not wait for jax.
_PUBLIC = {
    "Anonymizer": "anonymize.pipeline.anonymizer",
    "Result": "anonymize.pipeline.anonymizer",
    "FaceOptions": "anonymize.pipeline.options",
    "Faces": "generation.generate",
    "generate": "generation.generate",
    "open_faces": "generation.photos",
    "load_weights": "generation.exports",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
