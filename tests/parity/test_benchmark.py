"""PyTorch's side of `id2face benchmark`: equal sizes, the same work, a train step."""

import numpy as np
import pytest

from id2face_jax.benchmark import comparison, run, sampler
from id2face_jax.generation import exports


@pytest.fixture(scope="module")
def torch_side(references):
    from id2face_jax.benchmark import torch_side

    return torch_side


def test_the_unet_compared_with_is_as_large_as_ours(torch_side):
    model = sampler.Model(*exports.load_weights(None))
    side, channels, seen = comparison._latents(model)
    unet = torch_side.equal_unet(model.num_unet_parameters, seen, channels, side)
    count = torch_side.count_parameters(unet)
    assert abs(count / model.num_unet_parameters - 1) < comparison.SAME_WORK
    assert (unet.config.in_channels, unet.config.out_channels) == (seen, channels)


def test_no_unet_of_another_size_is_taken(torch_side):
    with pytest.raises(ValueError, match="compare a larger model"):
        torch_side.equal_unet(1000, 9, 4, 8)


def test_the_identical_network_is_the_same_work(torch_side):
    found = comparison.compare_identical((1, 2), 1, run.TINY_STABLE)
    assert [row["batch"] for row in found["rows"]] == [1, 2]
    for counts in (found["parameters"], found["gflop_per_pass"]):
        assert counts["ours"] == pytest.approx(counts["torch"], rel=0.05)


def test_other_outputs_are_no_identical_network(torch_side):
    same = np.ones((1, 2, 2, 4), np.float32)
    comparison._check_outputs(same, same)
    with pytest.raises(ValueError, match="other outputs"):
        comparison._check_outputs(same * 1.01, same)


def test_the_sampler_and_the_train_step_work(torch_side):
    unet = torch_side.equal_unet(400_000, 9, 4, 8)
    sample = torch_side.make_sampler(unet, 2, 8, 3)
    assert sample().shape == (2, 4, 8, 8)
    assert torch_side.count_flops(sample) > 0
    step = torch_side.make_train_step(unet, 8, 8)
    losses = [step() for _ in range(12)]
    assert np.mean(losses[-3:]) < losses[0]
