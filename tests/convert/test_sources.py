"""Weight files are read exactly, and a hostile one is refused, not run."""

import collections
import io
import os
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from id2face_jax.convert import sources


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_safetensors_of_any_float_become_float32(tmp_path, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    save_file({"a": values}, tmp_path / "w.safetensors")
    read = sources.read_tensors(tmp_path / "w.safetensors")
    assert read["a"].dtype == np.float32
    np.testing.assert_array_equal(read["a"], values.astype(np.float32))


def test_broken_safetensors_is_an_error(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        sources.read_tensors(tmp_path / "w.safetensors")


def test_old_pytorch_file_says_what_to_do(tmp_path):
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="before PyTorch 1.6 must be saved anew"):
        sources.read_tensors(tmp_path / "w.pth")


class _Storage:
    """Stands for PyTorch's storage in a pickle."""

    def __init__(self, values):
        self.values = values


class _Tensor:
    """Pickles as PyTorch pickles a tensor: a view into a storage."""

    def __init__(self, storage, offset, size, stride):
        self.parts = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


@pytest.fixture
def torch_names(monkeypatch):
    """The names that PyTorch's pickles spell, without PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild():
        raise AssertionError("only its name is pickled")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def _save(path, content):
    """Writes `content` as torch.save does."""
    storages, buffer = [], io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, _Storage):
                return None
            storages.append(value.values)
            kind = sys.modules["torch"].FloatStorage
            return "storage", kind, str(len(storages) - 1), "cpu", value.values.size

    Pickler(buffer, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", buffer.getvalue())
        for i, values in enumerate(storages):
            archive.writestr(f"w/data/{i}", values.tobytes())


def test_pth_views_into_storages_are_followed(tmp_path, torch_names):
    storage = _Storage(np.arange(12, dtype=np.float32))
    content = collections.OrderedDict(
        whole=_Tensor(storage, 0, (3, 4), (4, 1)),
        transposed=_Tensor(storage, 4, (4, 2), (1, 4)),
        scalar=_Tensor(storage, 7, (), ()),
    )
    _save(tmp_path / "w.pth", {"state_dict": content})
    read = sources.read_tensors(tmp_path / "w.pth")
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(read["whole"], table)
    np.testing.assert_array_equal(read["transposed"], table[1:].T)
    assert read["scalar"] == 7


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (13,), (1,)), (11, (2,), (1,)), (0, (2, 2), (11, 1)), (-1, (2,), (1,))],
)
def test_pth_view_outside_its_storage_is_refused(
    tmp_path, torch_names, offset, size, stride
):
    storage = _Storage(np.arange(12, dtype=np.float32))
    _save(tmp_path / "w.pth", {"a": _Tensor(storage, offset, size, stride)})
    with pytest.raises(ValueError, match="reaches outside its storage of 12"):
        sources.read_tensors(tmp_path / "w.pth")


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_pth_that_names_a_function_is_refused(tmp_path, torch_names, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _save(tmp_path / "w.pth", {"a": _Evil()})
    with pytest.raises(ValueError, match=r"holds a posix\.mkdir"):
        sources.read_tensors(tmp_path / "w.pth")
    assert not (tmp_path / "pwned").exists()


def test_pth_with_other_things_than_tensors_is_refused(tmp_path, torch_names):
    _save(tmp_path / "w.pth", {"epoch": 3})
    with pytest.raises(ValueError, match="'epoch' is no tensor"):
        sources.read_tensors(tmp_path / "w.pth")


def test_zip_without_a_pickle_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(ValueError, match="without PyTorch's data.pkl"):
        sources.read_tensors(tmp_path / "w.pth")
