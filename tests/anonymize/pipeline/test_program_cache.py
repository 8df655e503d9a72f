"""Programs kept on disk: traced once, not found for other code, not trusted if cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.anonymize.pipeline import program_cache


@pytest.fixture
def folder(tmp_path):
    """A compilation cache's folder, in use."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


class Counted:
    """A function that counts how often it is traced."""

    def __init__(self):
        self.traces = 0

    def __call__(self, weights, x):
        self.traces += 1
        return jnp.sin(x) * weights["w"]


ARGUMENTS = ({"w": np.float32([2.0])}, np.linspace(0, 1, 3, dtype=np.float32))


def run(function, arguments=ARGUMENTS, name="f"):
    return np.asarray(program_cache.program(function, arguments, name)(*arguments))


def files(folder):
    return sorted(folder.glob("*.traced"))


def test_a_second_start_does_not_trace_and_gives_the_same_bytes(folder):
    first, second = Counted(), Counted()
    np.testing.assert_array_equal(run(first), run(second))
    assert (first.traces, second.traces) == (1, 0)
    assert [path.stat().st_mode & 0o077 for path in files(folder)] == [0]


def test_another_name_shape_setting_or_code_is_another_program(folder, monkeypatch):
    functions = [Counted() for _ in range(5)]
    run(functions[0])
    run(functions[1], name="g")
    run(functions[2], (ARGUMENTS[0], np.float32([1, 2])))
    with jax.default_matmul_precision("highest"):
        run(functions[3])
    monkeypatch.setattr(program_cache, "_source", lambda: "other code")
    run(functions[4])
    assert [function.traces for function in functions] == [1] * 5
    assert len(files(folder)) == 5


def test_code_is_all_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(program_cache, "PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / "unet.py"
    digests = set()
    for text in ("a = 1\n", "a = 2\n"):
        file.write_text(text)
        digests.add(program_cache._source.__wrapped__())
    assert len(digests) == 2


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:10], lambda data: b""]
)
def test_a_damaged_file_is_made_again(folder, damage):
    expected = run(Counted())
    (path,) = files(folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    function = Counted()
    np.testing.assert_array_equal(run(function), expected)
    assert function.traces == 1
    again = Counted()
    run(again)
    assert again.traces == 0


def test_without_a_folder_nothing_is_kept(folder, tmp_path_factory):
    expected = run(Counted())
    jax.config.update("jax_compilation_cache_dir", None)
    np.testing.assert_array_equal(run(Counted()), expected)
    assert len(files(folder)) == 1


def test_a_folder_that_takes_no_file_costs_only_the_trace(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(program_cache.tempfile, "mkstemp", full)
    functions = [Counted(), Counted()]
    for function in functions:
        run(function)
    assert [function.traces for function in functions] == [1, 1]
    assert not list(folder.iterdir())
