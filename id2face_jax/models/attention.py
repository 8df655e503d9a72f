"""Attention of every network: one call, and the kernel that suits where it runs.

    (1)  o = softmax(q k^T / sqrt(d)) v        for each row and head

XLA writes the scores of (1) to memory and reads them again; a fused kernel never does.
Owns the choice between them. It follows the mesh that is in force while a program is
traced, for that names the chips it is compiled for; this process's own device may be
another (a plan, an export). Without a mesh it is XLA's.
"""

import functools
import logging
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

KERNELS = ("auto", "xla")
# Of what a kernel's backward pass needs: saved even where all else is recomputed, or
# the forward kernel would run twice.
SAVED = "attention"
# Below so many positions the scores are small, and XLA fuses what is around them.
_LEAST = 1024
_LANES = 128  # of a TPU's registers


def attend(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m h d"],
    v: Float[Array, "b m h d"],
    kernel: str = "auto",
) -> Float[Array, "b n h d"]:
    """Eq. 1; the softmax is float32. kernel: "auto", or "xla" whatever the chips."""
    taken = choose(q.shape, k.shape, q.dtype, kernel)
    _say(taken, q.shape[1:], k.shape[1])
    if taken == "splash":
        return _over_the_mesh(q, k, v)
    return jax.nn.dot_product_attention(q, k, v, implementation=taken)


def choose(q_shape, k_shape, dtype, kernel: str = "auto") -> str:
    """ "splash" (TPUs), "cudnn" (GPUs) or "xla", for these shapes on these chips.

    Raises ValueError for a kernel that is not one of KERNELS.
    """
    if kernel not in KERNELS:
        raise ValueError(f"model.attention is {kernel!r}; use one of {KERNELS}")
    mesh = jax.sharding.get_abstract_mesh()
    device = mesh.abstract_device
    if kernel == "xla" or not device or min(q_shape[1], k_shape[1]) < _LEAST:
        return "xla"
    rows, length, _, width = q_shape
    platform = device.platform
    if platform == "tpu":
        # A row's attention stays on a chip, so the chips must divide the rows.
        even = rows % mesh.size == 0 and length % _LANES == 0
        fits = q_shape == k_shape and even and width <= 4 * _LANES
        return "splash" if fits and dtype == jnp.bfloat16 else "xla"
    if platform in ("gpu", "cuda"):  # of a device that is here, of a planned one
        fits = width % 8 == 0 and width <= 128
        return "cudnn" if fits and dtype in (jnp.bfloat16, jnp.float16) else "xla"
    return "xla"


@functools.cache
def _say(taken: str, queries: tuple[int, int, int], keys: int) -> None:
    """Logs the choice, once for each kind of attention; XLA's is no news."""
    level = logging.DEBUG if taken == "xla" else logging.INFO
    line = "attention of %d positions to %d, %d heads of %d: %s"
    length, heads, width = queries
    logging.getLogger(__name__).log(level, line, length, keys, heads, width, taken)


def _over_the_mesh(q: Array, k: Array, v: Array) -> Array:
    """`splash` of each chip's rows; XLA cannot split a kernel by itself."""
    mesh = jax.sharding.get_abstract_mesh()
    rows = jax.P(mesh.axis_names)
    # The kernel's outputs do not say over which axes they vary, so nothing can check.
    return jax.shard_map(
        splash, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False
    )(q, k, v)


def splash(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b n h d"],
    v: Float[Array, "b n h d"],
    interpret: bool = False,
) -> Float[Array, "b n h d"]:
    """Eq. 1 by jax's kernel for TPUs, on one chip.

    interpret: runs the kernel's body as XLA operations, on any machine.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention as ops

    _, length, heads, width = q.shape
    kernel = ops.make_splash_mha_single_device(
        ops.MultiHeadMask([ops.FullMask((length, length))] * heads),
        block_sizes=blocks(length, width),
        residual_checkpoint_name=SAVED,
        interpret=interpret,
    )
    q = q * width**-0.5  # the kernel does not scale
    # By row, and not as heads: a chip of two cores splits the rows between them.
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    return jax.vmap(kernel)(q, k, v).swapaxes(1, 2)


def blocks(length: int, width: int):
    """Queries and keys of a step of the kernel: the largest that fit a core's VMEM.

    Twice the keys, for narrow heads, fit under a limit that is raised for the whole
    program alone (xla_tpu_scoped_vmem_limit_kib).
    """
    from jax.experimental.pallas.ops.tpu import splash_attention as ops

    # Both are divisors of a length that is any multiple of 128.
    most_q, most_kv = (1024, 2048) if width <= _LANES else (512, 512)
    q, kv = math.gcd(length, most_q), math.gcd(length, most_kv)
    inner = math.gcd(kv, 512)
    return ops.BlockSizes(
        block_q=q,
        block_kv=kv,
        block_kv_compute=inner,
        block_q_dkv=q,
        block_kv_dkv=kv,
        block_kv_dkv_compute=inner,
        use_fused_bwd_kernel=True,
    )
