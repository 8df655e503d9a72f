"""Turns, summaries, and processes watched from outside."""

import sys

import pytest

from id2face_jax.benchmark import timing


def test_tasks_run_in_turns_after_one_run_each():
    order = []
    tasks = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = timing.in_turns(tasks, 3)
    assert "".join(order) == "ab" + 3 * "ab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_summary_is_of_the_repetitions():
    found = timing.summary([3.0, 1.0, 2.0, 10.0])
    assert found == {"median": 2.5, "low": 1.0, "high": 10.0, "repeats": 4}


def _child(code: str, **environment) -> timing.Child:
    return timing.run_child([sys.executable, "-c", code], **environment)


def test_a_childs_memory_is_its_own():
    # This process is larger than either, and a plain child would inherit its peak.
    large, small = _child("data = bytearray(b'x') * 200_000_000"), _child("pass")
    assert small.peak_bytes < 50_000_000
    assert large.peak_bytes > small.peak_bytes + 190_000_000


def test_a_child_gets_variables_and_is_heard():
    child = _child("import os; print(os.environ['WORD'])", WORD="here")
    assert child.output == "here\n" and child.seconds > 0


def test_a_child_that_fails_is_an_error_with_its_last_words():
    with pytest.raises(ValueError, match="(?s)code 3.*the reason"):
        _child("import sys; print('the reason'); sys.exit(3)")
