"""Reads plan/kernels.py's table off libtpu: .venv/bin/python -m studies.kernels

Compiles the attentions of the full-scale configs for one chip of each kind, has libtpu
dump the final schedule of their kernels, and prints the bundles for a head of a row.
Needs the extra `plan`, and minutes of a core.
"""

import os
import pathlib
import re
import tempfile

import jax
import jax.numpy as jnp

from id2face_jax.models import attention
from id2face_jax.plan import chips

TOPOLOGIES = {"v5p": "v5p:2x2x1", "v5e": "v5e:2x2"}
# Positions and channels of a head: the UNet's of ffhq512 and celebahq256; the
# encoder's, which is frozen, so that only its forward pass runs.
TRAINED = ((4096, 40), (1024, 80), (1024, 40))
FROZEN = ((4096, 512), (1024, 512))
_LINE = re.compile(r"\s*0x([0-9a-f]+)\s+(LB)?")
_REGION = re.compile(r"(Start|End) region (\d+)")


def bundles_of_step(text: str, shared: int) -> float:
    """Bundles of a mean step of the kernel's loop.

    Args:
      text: the final bundles, as libtpu dumps them.
      shared: steps that share an output. The largest region without regions inside
        holds the products; what stands beside it (zeros at the start, the division at
        the end) runs in one of those steps, or is a few percent.

    Raises:
      ValueError: the kernel has another loop inside, whose length is not in the text.
    """
    began, spans, address, loops = {}, [], 0, 0
    for line in text.splitlines():
        if match := _LINE.match(line):
            address = int(match[1], 16)
            loops += match[2] == "LB"
        for which, region in _REGION.findall(line):
            if which == "Start":
                began[region] = address
            elif region in began:
                spans.append((began[region], address))
    if loops != 1:
        raise ValueError(f"{loops} loops in a kernel; one was expected")
    leaves = [
        (start, end)
        for start, end in spans
        if not any(start < other < end for other, _ in spans)
    ]
    whole = max(end - start for start, end in spans)
    products = max(end - start for start, end in leaves)
    return products + (whole - products) / shared


def read(dump: pathlib.Path, which: str, length: int, width: int) -> int:
    """Bundles for a head of a row. which: "fwd" or "dkv", as jax names its kernels."""
    (file,) = dump.glob(f"*splash_mha_{which}*[0-9]-final_bundles.txt")
    blocks = attention.blocks(length, width)
    queries, keys = length // blocks.block_q, length // blocks.block_kv
    # Keys are the inner loop forward, for an output a query; the other way backward.
    step = bundles_of_step(file.read_text(), keys if which == "fwd" else queries)
    return round(step * queries * keys)


def compile_for(topology: str, length: int, width: int, gradient: bool) -> None:
    """Compiles the forward pass, or both, for one chip."""
    device = chips.make_topology(topology).devices[0]
    where = jax.sharding.SingleDeviceSharding(device)
    # Several rows and heads, for a loop that a chip of two cores does not unroll.
    x = jax.ShapeDtypeStruct((8, length, 2, width), jnp.bfloat16, sharding=where)

    def both(*arrays):
        return jax.grad(lambda *a: attention.splash(*a).sum(), (0, 1, 2))(*arrays)

    jax.jit(both if gradient else attention.splash).lower(x, x, x).compile()


def main() -> None:
    """Prints the table, a line each: chip, pass, positions, channels, bundles."""
    dump = pathlib.Path(tempfile.mkdtemp(prefix="kernels"))
    # libtpu reads them when it starts, which is when jax asks for a topology.
    flags = f"--xla_jf_dump_to={dump} --xla_jf_dump_llo_text=true"
    flags += " --xla_jf_dump_llo_pass_label_regex=^final_bundles$"
    os.environ["LIBTPU_INIT_ARGS"] = flags
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    for chip, topology in TOPOLOGIES.items():
        for shape in TRAINED + FROZEN:
            compile_for(topology, *shape, shape in TRAINED)
            for which in ("fwd", "dkv") if shape in TRAINED else ("fwd",):
                print(chip, which, *shape, read(dump, which, *shape), flush=True)
            for file in dump.iterdir():
                file.unlink()
    dump.rmdir()


if __name__ == "__main__":
    main()
