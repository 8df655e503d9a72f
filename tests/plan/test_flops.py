"""FLOPs: closed forms, gradients, loops."""

import jax
import jax.numpy as jnp
import pytest

from id2face_jax.plan import flops


def shape(*dims):
    return jax.ShapeDtypeStruct(dims, jnp.float32)


def conv(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


IMAGE, KERNEL = shape(2, 16, 16, 4), shape(3, 3, 4, 8)
FORWARD = 2 * (2 * 16 * 16 * 8) * (3 * 3 * 4)


def test_a_product_of_matrices():
    assert flops.of_function(jnp.dot, shape(3, 5), shape(5, 7)) == 2 * 3 * 5 * 7
    batched = flops.of_function(jnp.matmul, shape(4, 3, 5), shape(4, 5, 7))
    assert batched == 4 * 2 * 3 * 5 * 7


def test_a_convolution():
    assert flops.of_function(conv, IMAGE, KERNEL) == FORWARD
    strided = flops.of_function(lambda x, k: conv(x, k, 2), IMAGE, KERNEL)
    assert strided == FORWARD // 4


@pytest.mark.parametrize("stride", [1, 2])
def test_a_gradient_costs_twice_the_forward_pass(stride):
    def loss(x, kernel):
        return conv(x, kernel, stride).sum()

    both = flops.of_function(jax.grad(loss, (0, 1)), IMAGE, KERNEL)
    forward = flops.of_function(loss, IMAGE, KERNEL)
    assert both == 3 * forward


def test_a_scan_counts_as_often_as_it_runs_and_remat_counts_what_it_repeats():
    def loop(x, w):
        return jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, length=7)[0]

    one = 2 * 3 * 5 * 5
    assert flops.of_function(loop, shape(3, 5), shape(5, 5)) == 7 * one

    def block(x, w):
        return jnp.tanh(jnp.tanh(x @ w) @ w)

    def cost(function):
        gradient = jax.grad(lambda x, w: function(x, w).sum(), (0, 1))
        return flops.of_function(gradient, shape(3, 5), shape(5, 5))

    assert cost(block) == 6 * one  # two forward, four backward
    assert cost(jax.checkpoint(block)) == 8 * one


def test_a_choice_costs_its_dearest_branch():
    def choose(i, x, w):
        return jax.lax.switch(i, [lambda: x, lambda: x @ w, lambda: x @ w @ w])

    index = jax.ShapeDtypeStruct((), jnp.int32)
    assert flops.of_function(choose, index, shape(3, 5), shape(5, 5)) == 300
