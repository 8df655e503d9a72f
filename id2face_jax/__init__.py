"""id2face_jax: identity-decoupled diffusion for face anonymization (JAX/Flax).

An implementation of the ideas of ID2Face (arXiv 2510.24213). See README.md for
what the paper states, what is chosen here and what is measured here.
"""

import os

# onnxruntime 1.32 keeps an identifier of the device and reports its use to its maker
# unless it finds this when it is first imported; a tool for privacy tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
