"""Time of the fused attention kernels on TPUs, which XLA's cost model knows nothing of.

What the compiler scheduled for a step of a kernel's loop, in bundles (instructions that
issue in one cycle), without stalls and without waiting for memory: a lower bound. The
steps of a row and head are multiplied in; a chip of two cores splits its rows.
"""

import math
import re

from id2face_jax.models import attention
from id2face_jax.plan import chips, hlo

# (pass, positions, channels of a head) -> bundles for a head of a row; libtpu 0.0.42.1,
# read off its dump by `python -m studies.kernels`.
BUNDLES: dict[str, dict[tuple[str, int, int], int]] = {
    "v5p": {
        ("fwd", 4096, 40): 79_948,
        ("dkv", 4096, 40): 149_482,
        ("fwd", 4096, 512): 260_632,
        ("fwd", 1024, 40): 6_228,
        ("dkv", 1024, 40): 10_509,
        ("fwd", 1024, 80): 6_228,
        ("dkv", 1024, 80): 10_509,
        ("fwd", 1024, 512): 18_364,
    },
    "v5e": {
        ("fwd", 4096, 40): 80_128,
        ("dkv", 4096, 40): 148_174,
        ("fwd", 4096, 512): 263_832,
        ("fwd", 1024, 40): 6_548,
        ("dkv", 1024, 40): 10_535,
        ("fwd", 1024, 80): 6_548,
        ("dkv", 1024, 80): 10_535,
        ("fwd", 1024, 512): 18_224,
    },
}
_CALL = re.compile(
    r"^\s*(?:ROOT )?%?splash_mha_(fwd|dkv)\w*[.\d]* = .*"
    r'custom_call_target="tpu_custom_call"'
)
# The first operand of four dimensions is the queries: rows, heads, positions, channels.
_QUERIES = re.compile(r"operand_layout_constraints=\{.*?bf16\[(\d+,\d+,\d+,\d+)\]")


def find(text: str) -> dict[tuple[str, int, int], int]:
    """(pass, positions, channels) -> heads of rows that a chip attends in a call.

    text: of `compiled.as_text()`. A pass is "fwd" or "dkv", jax's name for the backward
    one.
    """
    total = {}
    for line, times in hlo.executed_lines(text):
        call, queries = _CALL.match(line), _QUERIES.search(line)
        if call and queries:
            rows, heads, length, width = map(int, queries[1].split(","))
            key = (call[1], length, width)
            total[key] = total.get(key, 0) + times * rows * heads
    return total


def seconds(
    found: dict[tuple[str, int, int], int], chip: chips.Chip
) -> tuple[float, int]:
    """(time of what `find` found, how many kinds of it the table lacks)."""
    table = BUNDLES.get(chip.kind, {})
    known = [num * table[kind] for kind, num in found.items() if kind in table]
    bundles = math.fsum(known)
    missing = len(found) - len(known)
    return (bundles / chip.cores / chip.clock if bundles else 0.0), missing


def reread_bytes(found: dict[tuple[str, int, int], int]) -> float:
    """HBM traffic beside every operand once, which is what XLA counts of a kernel.

    The forward pass reads keys and values again for each block of queries, the backward
    pass queries and the output's gradient for each block of keys; both of 128 lanes.
    """
    total = 0
    for (which, length, width), num in found.items():
        blocks = attention.blocks(length, width)
        block = blocks.block_q if which == "fwd" else blocks.block_kv
        lanes = -(-width // 128) * 128
        total += num * (length // block - 1) * 2 * length * lanes * 2
    return float(total)
