"""Traced programs on disk, so that the next process starts without tracing again.

Owns files beside jax's own compilation cache, in the same folder, which only its owner
may enter. jax's cache saves the compiler's time, these save Python's: a program is kept
as the StableHLO that `jax.export` writes. Without such a folder nothing is kept, but
programs take the same way, so pictures are the same bytes with and without.
"""

import functools
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable

import jax
from jax import export

from id2face_jax.compiling import inference_options

PACKAGE = pathlib.Path(__file__).parents[2]
_SUFFIX = ".traced"
_DIGEST = hashlib.sha256
# FaceOptions of jax that change what a trace gives.
_SETTINGS = ("jax_default_matmul_precision", "jax_enable_x64", "jax_default_prng_impl")


def program(function: Callable, arguments: tuple, name: str) -> Callable:
    """`function` under `jax.jit` for the shapes of `arguments`, traced at most once.

    Args:
      function: pure, of positional pytrees of arrays (dicts, tuples and lists alone).
      arguments: as it will be called.
      name: tells apart functions of the same shapes: everything they close over.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    path = _path(name, shapes)
    exported = _read(path)
    if exported is None:
        exported = export.export(jax.jit(function))(*shapes)
        _write(path, bytes(exported.serialize()))
    return jax.jit(exported.call, compiler_options=inference_options())


def _path(name: str, shapes: tuple) -> pathlib.Path | None:
    folder = jax.config.jax_compilation_cache_dir
    if not folder:
        return None
    parts = (name, str(shapes), jax.__version__, jax.default_backend(), _source())
    parts += tuple(str(getattr(jax.config, setting)) for setting in _SETTINGS)
    key = _DIGEST("\n".join(parts).encode()).hexdigest()
    return pathlib.Path(folder) / f"{key}{_SUFFIX}"


@functools.cache
def _source() -> str:
    """A digest of this package's code: a trace of other code must not be found."""
    digest = _DIGEST()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _read(path: pathlib.Path | None) -> export.Exported | None:
    """The program of a file; None if it is not there whole."""
    try:
        data = path.read_bytes() if path else b""
    except OSError:
        return None
    size = _DIGEST().digest_size
    digest, content = data[:size], data[size:]
    if not content or _DIGEST(content).digest() != digest:
        return None
    return export.deserialize(bytearray(content))


def _write(path: pathlib.Path | None, content: bytes) -> None:
    """Whole or not at all; a disk that cannot take it costs only the next start."""
    if path is None:
        return
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".traced-")
        try:
            with open(handle, "wb") as file:
                file.write(_DIGEST(content).digest() + content)
            os.replace(scratch, path)
        except BaseException:
            pathlib.Path(scratch).unlink(missing_ok=True)
            raise
    except OSError:
        return
