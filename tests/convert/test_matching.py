"""Every leaf finds its tensor, every tensor its leaf, or an error names it."""

import jax
import numpy as np
import pytest

from id2face_jax.convert import matching

EXPECTED = {
    "conv": {"kernel": jax.ShapeDtypeStruct((3, 3, 2, 4), np.float32)},
    "dense": {"kernel": jax.ShapeDtypeStruct((2, 4), np.float32)},
    "table": {"embedding": jax.ShapeDtypeStruct((5, 2), np.float32)},
}


def _tensors(**changes):
    rng = np.random.default_rng(0)
    tensors = {
        "conv/kernel": rng.normal(size=(4, 2, 3, 3)),
        "dense/kernel": rng.normal(size=(4, 2, 1, 1)),
        "table/embedding": rng.normal(size=(5, 2)),
    }
    return tensors | changes


def _fill(tensors):
    return matching.fill(EXPECTED, tensors, lambda path: path, "w.safetensors")


def test_axes_move_to_where_ours_are():
    tensors = _tensors()
    tree = _fill(tensors)
    source = tensors["conv/kernel"]
    np.testing.assert_allclose(
        tree["conv"]["kernel"][2, 1, 0, 3], source[3, 0, 2, 1], rtol=1e-6
    )
    pointwise = tensors["dense/kernel"]
    np.testing.assert_allclose(
        tree["dense"]["kernel"], pointwise[:, :, 0, 0].T, rtol=1e-6
    )
    np.testing.assert_allclose(
        tree["table"]["embedding"], tensors["table/embedding"], rtol=1e-6
    )
    assert tree["conv"]["kernel"].dtype == np.float32


def test_missing_tensor_is_named():
    tensors = _tensors()
    del tensors["conv/kernel"]
    with pytest.raises(ValueError, match=r"w\.safetensors lacks conv/kernel"):
        _fill(tensors)


def test_unused_tensor_is_named():
    with pytest.raises(ValueError, match=r"has conv/typo, which no parameter takes"):
        _fill(_tensors(**{"conv/typo": np.zeros(3)}))


def test_both_faults_are_told_at_once():
    tensors = _tensors(**{"stray": np.zeros(3)})
    del tensors["dense/kernel"]
    with pytest.raises(ValueError, match=r"lacks dense/kernel; and it has stray"):
        _fill(tensors)


def test_wrong_shape_names_leaf_and_shapes():
    wrong = _tensors(**{"conv/kernel": np.zeros((5, 2, 3, 3))})
    with pytest.raises(ValueError, match=r"conv/kernel needs \(3, 3, 2, 4\)"):
        _fill(wrong)


def test_a_larger_kernel_is_no_dense_layer():
    wrong = _tensors(**{"dense/kernel": np.zeros((4, 2, 3, 3))})
    with pytest.raises(ValueError, match=r"dense/kernel needs \(2, 4\)"):
        _fill(wrong)


def test_long_lists_are_cut():
    many = {f"stray{i:02}": np.zeros(1) for i in range(30)}
    with pytest.raises(ValueError, match="stray07 and 22 more"):
        _fill(_tensors(**many))
