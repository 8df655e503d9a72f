"""The command on planted models, in a folder of its own."""

import json
import pathlib

import numpy as np
import PIL.Image
import pytest

from id2face_jax import cli
from tests.anonymize import planted

WIDTH, HEIGHT = 220, 200


class Scene:
    """A dataset under work in the current folder."""

    def picture(self, path, seed=0, **options):
        """A picture with a face that the planted models find."""
        self._save(path, planted.picture(seed), options)

    def wall(self, path):
        """A picture without a face: refused."""
        self._save(path, np.full((HEIGHT - 1, WIDTH, 3), 90, np.uint8), {})

    def _save(self, path, pixels, options):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(path, **options)

    def text(self, path, content):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def run(self, *arguments, source="set", out="out"):
        """The exit code of `id2face anonymize`."""
        return cli.main(["anonymize", source, "-o", out, *arguments])

    def report(self, path="out/report.json"):
        return json.loads(pathlib.Path(path).read_text())

    def contents(self, out="out"):
        """The bytes of all that was written, but the reports."""
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in sorted(pathlib.Path(out).rglob("*"))
            if path.is_file() and not path.name.startswith(("report", "."))
        }


def is_new(before, after):
    """Whether the face, but not the size, is another than before."""
    old, new = (np.asarray(PIL.Image.open(p)).astype(int) for p in (before, after))
    face = (slice(60, 120), slice(70, 130))
    return old.shape == new.shape and np.abs(old[face] - new[face]).mean() > 40


@pytest.fixture
def scene(tmp_path, monkeypatch):
    planted.plant(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return Scene()
