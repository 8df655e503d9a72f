"""Fixtures of several files here."""

import pytest

from tests.anonymize import planted
from tests.anonymize.folders import save


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """photos/{a.png, b.jpg, sub/a.png} with a face each; the cwd is above."""
    for seed, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        save(tmp_path / "photos" / name, planted.picture(seed))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"
