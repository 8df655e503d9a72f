"""The door between the anonymizer and whatever makes new faces.

Owns the protocol `Generator`, and `DiffusionGenerator`, which answers it with the
trained model: `generate.generate`, jitted once for each of a few batch sizes. Leaves
which identity to ask for, and whether the answer hides the source, to `anonymizer`.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import threading
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Float, UInt8, UInt32

from id2face_jax.anonymize.pipeline import program_cache
from id2face_jax.anonymize.pipeline.parallel import over_cores
from id2face_jax.faces import align
from id2face_jax.generation import exports, generate

# Batch sizes that are compiled; others are padded up to one of them or cut into some.
BUCKETS = (1, 4, 16)


@dataclasses.dataclass(frozen=True)
class Requests:
    """What to generate, one row a face.

    Attributes:
      crops: aligned source crops.
      masks: in [0, 1]; where it is 0 the crop's own pixels stay.
      embeddings: the source's unit embeddings, which the result must avoid.
      latents: identity latents, standard normal.
      seeds: of the start noise.
      angles: degrees between the source's embedding and the new one.
      mode: "embedding", with the source's apparent sex, age and skin tone where the
        generator knows how, or "free"; see `generate.MODES`.
    """

    crops: UInt8[np.ndarray, "n s s 3"]
    masks: Float[np.ndarray, "n s s"]
    embeddings: Float[np.ndarray, "n d"]
    latents: Float[np.ndarray, "n u"]
    seeds: UInt32[np.ndarray, " n"]
    angles: Float[np.ndarray, " n"]
    mode: str = "embedding"

    def __len__(self) -> int:
        return len(self.seeds)


@runtime_checkable  # so that annotations are checked in tests
class Generator(Protocol):
    """Makes new faces. A row must depend on its own request alone."""

    size: int  # side of the crops, pixels
    geometry: align.Geometry  # what they show
    embedding_dim: int
    identity_dim: int
    num_steps: int
    fingerprint: str  # changes whenever the results may

    def __call__(self, requests: Requests) -> UInt8[np.ndarray, "n s s 3"]: ...


def default_batch() -> int:
    """Most rows at once: one on a CPU, whose rows take as long together as apart.

    There a second batch size would only be 20 s more of compilation.
    """
    return 1 if jax.default_backend() == "cpu" else BUCKETS[-1]


def bucket_sizes(num: int, max_batch: int) -> list[int]:
    """The batch sizes that `num` rows are run in; their sum is at least `num`.

    A bucket is padded only if at least half of it is used: a padded row costs as much
    as a real one.
    """
    allowed = [size for size in BUCKETS if size <= max_batch]
    sizes = []
    while num > 0:
        size = next((b for b in allowed if b >= num), allowed[-1])
        if num * 2 < size:
            size = max(b for b in allowed if b <= num)
        sizes.append(size)
        num -= size
    return sizes


class DiffusionGenerator:
    """`Generator` on an ID2Face model's weights."""

    def __init__(
        self,
        config: ml_collections.FrozenConfigDict,
        weights: dict,
        *,
        num_steps: int | None = None,
        max_batch: int | None = None,
        directions: Float[np.ndarray, "k d"] | None = None,
    ):
        """Args:

        config: of the export that the weights come from.
        weights: {"model", "autoencoder"}.
        num_steps: DDIM steps; None is the config's own number.
        max_batch: most rows that are run at once; None is `default_batch`.
        directions: of appearance in the embeddings, see `faces.appearance`; None: new
          identities do not keep it.
        """
        if max_batch is not None and max_batch < 1:
            raise ValueError(f"batch size is {max_batch}; use 1 or more")
        if num_steps is not None and num_steps < 1:
            raise ValueError(f"the number of steps is {num_steps}; use 1 or more")
        if "model" not in weights:
            raise ValueError(
                "the export holds an autoencoder alone; export the diffusion stage"
            )
        if directions is not None:
            weights = weights | {"appearance": directions}
        self.size = config.data.image_size
        self.geometry = align.geometry_of(config.data)
        self.embedding_dim = config.model.embedding_dim
        self.identity_dim = config.model.identity_dim
        self.num_steps = num_steps or config.model.sample_steps
        self.fingerprint = _fingerprint(config, weights)
        self._max_batch = max_batch or default_batch()
        self._weights = jax.device_put(weights)
        self._config = config
        self._lock = threading.Lock()
        self._programs: dict[tuple[int, str], Callable] = {}

    @classmethod
    def from_export(cls, path: str | os.PathLike | None = None, **options):
        """The generator of an export or a training run; None: the embedded default."""
        return cls(*exports.load_weights(path), **options)

    def __call__(self, requests: Requests) -> UInt8[np.ndarray, "n s s 3"]:
        """New crops, row by row; see `Requests`."""
        sizes = bucket_sizes(len(requests), self._max_batch)
        starts = np.cumsum([0, *sizes[:-1]])
        # Padding repeats the last row, so no made-up input reaches the network.
        groups = [
            np.minimum(np.arange(start, start + size), len(requests) - 1)
            for start, size in zip(starts, sizes, strict=True)
        ]
        # One face alone leaves cores idle between its small operations; an accelerator
        # has one queue, and would only hold the memory of several.
        run = over_cores if jax.default_backend() == "cpu" else map
        crops = run(lambda rows: self._generate(requests, rows), groups)
        return np.concatenate(list(crops))[: len(requests)]

    def _generate(self, requests: Requests, rows: np.ndarray) -> np.ndarray:
        arguments = (
            self._weights,
            jnp.asarray(requests.crops[rows]),
            jnp.asarray(requests.masks[rows], jnp.float32),
            jnp.asarray(requests.embeddings[rows], jnp.float32),
            jnp.asarray(requests.seeds[rows], jnp.uint32),
            jnp.asarray(requests.angles[rows], jnp.float32),
            jnp.asarray(requests.latents[rows], jnp.float32),
        )
        which = (len(rows), requests.mode)
        with self._lock:  # threads that start together would all trace
            if which not in self._programs:
                told = exports.to_json(self._config)
                name = f"generate {told} {self.num_steps} {requests.mode}"
                sample = functools.partial(self._sample, requests.mode)
                self._programs[which] = program_cache.program(sample, arguments, name)
        crops = self._programs[which](*arguments)
        return np.asarray(jax.device_get(crops))

    def _sample(
        self, mode, weights, crops, masks, embeddings, seeds, angles, latents
    ) -> UInt8[jax.Array, "n s s 3"]:
        return generate.generate(
            self._config,
            weights,
            generate.Faces(crops, masks, embeddings),
            seeds,
            mode=mode,
            num_steps=self.num_steps,
            angle=angles,
            latents=latents,
        )


def _fingerprint(config: ml_collections.FrozenConfigDict, weights: dict) -> str:
    """SHA-256, in hex, of the networks' config and every weight."""
    digest = hashlib.sha256(exports.to_json(config).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def use_compilation_cache() -> pathlib.Path:
    """Keeps compiled programs on disk between runs; returns the folder.

    $ID2FACE_CACHE_DIR, else $XDG_CACHE_HOME/id2face, else ~/.cache/id2face. Programs
    found there are executed, so the folder is made readable by its owner alone.
    """
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = os.environ.get("ID2FACE_CACHE_DIR") or pathlib.Path(base) / "id2face"
    folder = pathlib.Path(folder) / "compiled"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Small programs too: a first picture compiles dozens of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder
