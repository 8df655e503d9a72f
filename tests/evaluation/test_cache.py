"""A stopped evaluation goes on; a changed one starts again."""

import numpy as np
import pytest

from id2face_jax.evaluation.cache import CHUNK, Stage


def square(rows):
    return {"x": np.arange(rows.start, rows.stop) ** 2}


def test_columns_come_back_in_order_whatever_the_chunks(tmp_path):
    stage = Stage(tmp_path, "squares", "a", 2 * CHUNK + 5)
    stage.fill(square)
    np.testing.assert_array_equal(stage.column("x"), np.arange(2 * CHUNK + 5) ** 2)
    wanted = np.array([CHUNK + 3, 0, 2 * CHUNK, 0])
    np.testing.assert_array_equal(stage.rows("x", wanted), wanted**2)
    parts = [arrays["x"] for _, arrays in stage.chunks()]
    np.testing.assert_array_equal(np.concatenate(parts), stage.column("x"))


def test_what_a_stop_left_behind_is_not_done_again(tmp_path):
    done = []

    def stops(rows):
        if rows.start == CHUNK:
            raise KeyboardInterrupt
        done.append(rows.start)
        return square(rows)

    def goes_on(rows):
        done.append(rows.start)
        return square(rows)

    stage = Stage(tmp_path, "squares", "a", 3 * CHUNK)
    with pytest.raises(KeyboardInterrupt):
        stage.fill(stops)
    stage.fill(goes_on)
    stage.fill(goes_on)
    assert done == [0, CHUNK, 2 * CHUNK]


def test_a_broken_write_leaves_no_chunk(tmp_path, monkeypatch):
    stage = Stage(tmp_path, "squares", "a", 3)

    def torn(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", torn)
        with pytest.raises(OSError, match="disk full"):
            stage.fill(square)
    stage.fill(square)
    np.testing.assert_array_equal(stage.column("x"), [0, 1, 4])


def test_other_dependencies_are_another_folder(tmp_path):
    first, second = (Stage(tmp_path, "s", [key], 1) for key in ("a", "b"))
    assert first.folder != second.folder
    assert Stage(tmp_path, "s", ["a"], 1).folder == first.folder
