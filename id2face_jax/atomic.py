"""Files that are written whole or not at all, and the hashes of what is in them.

A file is first written beside its place, as its part, so that a kill or a loss of power
leaves the old file or the new one. Leaves what is written to the callers.
"""

import contextlib
import hashlib
import os
import pathlib

# Names have 255 bytes on all common file systems; ours are a little longer.
_LONG_NAME = 230


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all, also if the power goes."""
    write_part(path, content)
    try:
        os.replace(part_path(path), path)
    except OSError:
        discard(part_path(path))
        raise


def part_path(path: pathlib.Path) -> pathlib.Path:
    """Where a file is written before it is moved to `path`.

    The name is fixed: the part of a killed run is overwritten by the next.
    """
    return beside(path, "part")


def beside(path: pathlib.Path, use: str) -> pathlib.Path:
    """A hidden file of ours beside `path`, whose name may be as long as any."""
    name = path.name
    if len(os.fsencode(name)) > _LONG_NAME:
        name = hash_of(os.fsencode(name))
    return path.with_name(f".{name}.id2face-{use}")


def discard(path: pathlib.Path) -> None:
    """Removes a file of ours, if it is there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def write_part(path: pathlib.Path, content: bytes) -> None:
    """Writes the part file of `path`, so that it outlives a loss of power."""
    part = part_path(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        discard(part)
        raise


def hash_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def hash_of_file(path: pathlib.Path) -> str:
    """SHA-256 in hex of a file of any size."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
