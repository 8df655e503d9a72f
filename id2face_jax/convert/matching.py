"""Foreign tensors into our tree of parameters, leaf by leaf, nothing left over.

Owns the two laws of every conversion: each of our leaves finds its tensor, each tensor
finds its leaf. What breaks either is an error that names it. Layout: a convolution
(O, I, h, w) becomes (h, w, I, O), a matrix (O, I) becomes (I, O).
"""

from collections.abc import Callable, Mapping

import jax
import numpy as np

_SHOWN = 8  # names in a message; a wrong config misses hundreds


def name_some(names) -> str:
    """The first few names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def path_of(path) -> str:
    """The "/"-joined name of a leaf, from a key path of nested dictionaries."""
    return "/".join(key.key for key in path)


def fill(
    expected,
    tensors: Mapping[str, np.ndarray],
    to_key: Callable[[str], str],
    where: str,
):
    """`expected` with the values of `tensors`, float32.

    Args:
      expected: nested dictionaries of ShapeDtypeStructs.
      tensors: by key; PyTorch's layout.
      to_key: path of a leaf ("a/b/kernel") to its key in `tensors`.
      where: the file, for messages.

    Raises:
      ValueError: leaves without a tensor, tensors without a leaf, or a tensor whose
        shape is not the leaf's; each by its name.
    """
    leaves = jax.tree_util.tree_flatten_with_path(expected)[0]
    wanted = {to_key(path_of(path)) for path, _ in leaves}
    problems = []
    if missing := wanted - set(tensors):
        problems.append(f"lacks {name_some(missing)}")
    if unused := set(tensors) - wanted:
        problems.append(f"has {name_some(unused)}, which no parameter takes")
    if problems:
        raise ValueError(f"{where} {'; and it '.join(problems)}")

    def convert(path, leaf):
        key = to_key(path_of(path))
        value = to_our_layout(tensors[key], path[-1].key, len(leaf.shape))
        if value.shape != leaf.shape:
            raise ValueError(
                f"{where}: {key} has shape {tensors[key].shape}, which becomes "
                f"{value.shape}; {path_of(path)} needs {leaf.shape}"
            )
        return value.astype(np.float32)

    return jax.tree_util.tree_map_with_path(convert, expected)


def to_our_layout(value: np.ndarray, name: str, rank: int) -> np.ndarray:
    """A PyTorch weight in our order of axes.

    name, rank: of our parameter. Only a kernel's axes move, and a 1x1 convolution may
    stand for a matrix.
    """
    if name != "kernel":
        return value
    if value.ndim == 4 and rank == 2 and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value
