"""Weight files to named numpy arrays: safetensors, and PyTorch's zip archives.

Reads `.pth`, `.pt`, `.ckpt` and `.bin` without PyTorch, and without running what is
in them: a pickle may name any function of the machine, so only the few names that a
dictionary of tensors needs are allowed, and every view into a storage is checked
against the storage's length.
"""

import collections
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np
import safetensors

_STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
}


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a weight file by name, floating ones as float32.

    Raises ValueError for a file that is neither safetensors nor a PyTorch zip archive
    of tensors.
    """
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif zipfile.is_zipfile(path):
        tensors = _read_zip(path)
    else:
        raise ValueError(
            f"{path} is neither .safetensors nor a PyTorch zip archive; a checkpoint "
            "from before PyTorch 1.6 must be saved anew: "
            "torch.save(torch.load(old, map_location='cpu'), new)"
        )
    return {name: _to_float32(value) for name, value in tensors.items()}


def _to_float32(value: np.ndarray) -> np.ndarray:
    # bfloat16 is no subtype of numpy's floating.
    is_integer = np.issubdtype(value.dtype, np.integer)
    return value if is_integer else value.astype(np.float32)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file: {error}"
        ) from None


def _read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{path} is a zip archive without PyTorch's data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        with archive.open(pickles[0]) as file:
            try:
                content = _Unpickler(file, archive, root).load()
            except pickle.UnpicklingError as error:
                raise ValueError(f"{path}: {error}") from None
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no dictionary of tensors")
    strange = [k for k, v in content.items() if not isinstance(v, np.ndarray)]
    if strange:
        raise ValueError(
            f"{path}: {strange[0]!r} is no tensor; save the state_dict alone"
        )
    return content


class _Unpickler(pickle.Unpickler):
    """Unpickles dictionaries of tensors; refuses every other name."""

    def __init__(self, file, archive: zipfile.ZipFile, root: str):
        super().__init__(file, encoding="utf-8")
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(
            f"holds a {module}.{name}, which no dictionary of tensors needs; save the "
            "state_dict alone, as safetensors"
        )

    def persistent_load(self, pid) -> np.ndarray:
        _, dtype, key, _, count = pid
        raw = self._archive.read(f"{self._root}data/{key}")
        if len(raw) != count * dtype.itemsize:
            raise pickle.UnpicklingError(
                f"storage {key} has {len(raw)} bytes; {count} of {dtype} were expected"
            )
        return np.frombuffer(raw, dtype)


def _rebuild_tensor(storage, offset, size, stride, *_) -> np.ndarray:
    extent = sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    is_empty = 0 in size
    inside = (
        0 <= offset and offset + extent < storage.size and min(stride, default=0) >= 0
    )
    if not is_empty and not inside:
        raise pickle.UnpicklingError(
            f"a tensor of size {size}, stride {stride} reaches outside its storage of "
            f"{storage.size}"
        )
    if is_empty:
        return np.zeros(size, storage.dtype)
    steps = [s * storage.dtype.itemsize for s in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps)
    return np.ascontiguousarray(view)
