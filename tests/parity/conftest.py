"""What parity tests compare with; `make parity` has it, the ordinary .venv has not."""

import warnings

import numpy as np
import pytest

REASON = "no {} here: `make parity` compares our networks with PyTorch's"
# float32, and sums in another order: the bar of the project.
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def torch():
    """PyTorch; skips, loudly, without it."""
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip("torch", reason=REASON.format("torch"))


@pytest.fixture(scope="session")
def references(torch):
    """The module of reference networks."""
    with warnings.catch_warnings(action="ignore"):
        pytest.importorskip("diffusers", reason=REASON.format("diffusers"))
        from tests.parity import references

    return references


@pytest.fixture(scope="session")
def draw(torch):
    """(*shape) -> the same standard normal numbers, for us and for PyTorch.

    Shapes are channels first; ours come channels last if there are four.
    """

    def _draw(*shape, seed=1):
        values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        ours = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
        return ours, torch.from_numpy(values)

    return _draw


@pytest.fixture(scope="session")
def assert_parity(record):
    """(name, ours, PyTorch's) -> passes if the maximal relative error is in the bar.

    The error is relative to the largest value of the reference.
    """

    def check(name, ours, theirs):
        theirs = theirs.detach().numpy()
        if theirs.ndim == 4:
            theirs = theirs.transpose(0, 2, 3, 1)
        assert np.shape(ours) == theirs.shape
        error = float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())
        record(name, error)
        assert error < TOLERANCE

    return check


@pytest.fixture(scope="session")
def record(pytestconfig):
    """(name, error) -> a line of the table that the run ends with."""
    return lambda name, error: pytestconfig.stash[_ERRORS].append((name, error))


_ERRORS = pytest.StashKey[list]()


def pytest_configure(config):
    """Makes room for the errors that the tests measure."""
    config.stash[_ERRORS] = []


def pytest_terminal_summary(terminalreporter, config):
    """Prints the measured errors, the product of a parity run."""
    for name, error in config.stash[_ERRORS]:
        terminalreporter.write_line(f"{name:<48} max relative error {error:.1e}")
