"""Counts the matrix operations of a traced function, on any machine.

Owns the walk over a jaxpr. Convolutions and matrix products alone are counted, two
operations a multiplication, as is custom for model FLOPs; they are all but a few
percent of a network's arithmetic.
"""

import math
from collections.abc import Iterator

import jax
from jax.extend import core


def _inner(equation: core.JaxprEqn) -> Iterator[tuple[core.Jaxpr, int]]:
    """(jaxpr, times it runs) inside an equation; of a cond the costliest branch."""
    if equation.primitive.name == "cond":
        branches = [branch.jaxpr for branch in equation.params["branches"]]
        yield max(branches, key=count_flops), 1
        return
    times = equation.params["length"] if equation.primitive.name == "scan" else 1
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if isinstance(part, core.Jaxpr):
                yield part, times


def _dot_flops(equation: core.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    depth = math.prod(shape[i] for i in contracted)
    return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def _conv_flops(equation: core.JaxprEqn) -> int:
    numbers = equation.params["dimension_numbers"]
    kernel = equation.invars[1].aval.shape
    window = math.prod(kernel[i] for i in numbers.rhs_spec[2:])
    depth = kernel[numbers.rhs_spec[1]]
    out = math.prod(equation.outvars[0].aval.shape)
    # A dilated side is zeros but for one in `dilation`; nobody multiplies them.
    holes = math.prod(equation.params["lhs_dilation"])
    # The kernel's gradient is a convolution whose window is an image: a dilated one
    # (a stride on the way forward) is as large as what it covers.
    groups = equation.params["batch_group_count"]
    return 2 * out * window * depth // (holes * groups)


def count_flops(jaxpr: core.Jaxpr) -> int:
    """Operations of one call, over all devices together.

    jaxpr: of `jax.jit(f).trace(...).jaxpr.jaxpr`. A `while` whose length is not in the
    program counts once; ours are scans.
    """
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot_flops(equation)
        elif equation.primitive.name == "conv_general_dilated":
            total += _conv_flops(equation)
        else:
            total += sum(n * count_flops(inner) for inner, n in _inner(equation))
    return total


def of_function(function, *shapes) -> int:
    """`count_flops` of a function of arrays or their shapes."""
    return count_flops(jax.jit(function).trace(*shapes).jaxpr.jaxpr)
