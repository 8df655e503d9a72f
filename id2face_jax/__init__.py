"""id2face_jax: identity-decoupled diffusion for face anonymization (JAX/Flax).

An implementation of the ideas of ID2Face (arXiv 2510.24213). See README.md for
what the paper states, what is chosen here and what is measured here.
"""

__version__ = "0.1.0"
