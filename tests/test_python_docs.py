"""The Python of docs/, with the real model."""

import doctest
import pathlib

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["python.md", "research.md"])
def test_every_example_of_the_page_is_true(name, tmp_path, monkeypatch):
    page = pathlib.Path(__file__).parents[1] / "docs" / name
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 15 and not results.failed
