"""The Python API as docs/python.md shows it, with the real model."""

import doctest
import pathlib

import pytest


@pytest.mark.slow
def test_every_example_of_the_page_is_true(tmp_path, monkeypatch):
    page = pathlib.Path(__file__).parents[2] / "docs" / "python.md"
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 15 and not results.failed
