"""What the text of a compiled program says: its collectives, and XLA's own cost.

Owns reading HLO. Bytes are what one chip ends up with or gives: the result of an
all-gather, the operand of a reduce-scatter, the array of an all-reduce. An operation in
a loop counts as often as the loop runs, where XLA knows that.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

KINDS = (
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "all-to-all",
    "collective-permute",
)
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_INSTRUCTION = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\((.*)"
)
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_CALLS = re.compile(r"(body|condition|calls|to_apply)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"?known_trip_count"?:?\{"?n"?:"?(\d+)"?\}')
_LIMIT = re.compile(r" s32\[\]\S* constant\((\d+)\)")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"  # [4,2]T(1,0)
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_UNKNOWN = 2**63 - 1  # what XLA writes where a quick compilation estimates nothing


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
      kind: one of KINDS.
      axes: of the mesh, that its groups span.
      shape: of its (largest) array, as the result has it.
      num_bytes: of one execution, on one chip.
      count: executions a call of the program.
      op_name: where it comes from, as jax named it; may be "".
    """

    kind: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    num_bytes: int
    count: int
    op_name: str


def _arrays(text: str) -> list[tuple[tuple[int, ...], int]]:
    """(shape, bytes) of the arrays in a type such as (f32[2,3]{1,0}, u32[])."""
    found = []
    for dtype, dims in _ARRAY.findall(text):
        if dtype in _BYTES:
            shape = tuple(int(x) for x in dims.split(",") if x)
            found.append((shape, math.prod(shape) * _BYTES[dtype]))
    return found


def _device_ids(dims: str, order: str | None) -> np.ndarray:
    """0, 1, 2, ... in an array of `dims`, transposed by `order`."""
    dims = [int(x) for x in dims.split(",")]
    axes = [int(x) for x in order.split(",")] if order else range(len(dims))
    return np.arange(math.prod(dims)).reshape(dims).transpose(axes)


def _groups(line: str) -> list[list[int]]:
    """The groups of a collective, in each of the ways that HLO writes them."""
    pairs = re.search(r"source_target_pairs=\{(.*?\})\}", line)
    braces = re.search(r"replica_groups=\{(\{.*?\})\}", line)
    if pairs or braces:
        inside = (pairs or braces)[1]
        rows = re.findall(r"\{([\d,]*)\}", inside)
        return [[int(x) for x in row.split(",") if x] for row in rows]
    iota = re.search(rf"replica_groups=\[([\d,]+)\]<={_IOTA}", line)
    if iota:
        shape = [int(x) for x in iota[1].split(",")]
        return _device_ids(iota[2], iota[3]).reshape(shape).tolist()
    named = re.search(r"replica_groups=mesh\[(.*?)\](.*?) \{(.*?)\}", line)
    if named:
        sizes = {name: int(x) for name, x in re.findall(r"'(\w+)'=(\d+)", named[1])}
        names, over = list(sizes), re.findall(r"'(\w+)'", named[3])
        order = re.search(rf"device_ids=\({_IOTA}\)", named[2])
        num = math.prod(sizes.values())
        ids = _device_ids(order[1], order[2]) if order else np.arange(num)
        last = [names.index(name) for name in over]
        first = [i for i in range(len(names)) if i not in last]
        ids = ids.reshape(list(sizes.values())).transpose(first + last)
        return ids.reshape(-1, math.prod(sizes[name] for name in over)).tolist()
    return []


def _axes(groups: list[list[int]], mesh_shape: dict[str, int]) -> tuple[str, ...]:
    """Mesh axes along which the members of some group differ."""
    if not groups:  # all devices are one group
        return tuple(name for name, size in mesh_shape.items() if size > 1)
    spans = set()
    for group in groups:
        where = np.unravel_index(group, tuple(mesh_shape.values()))
        spans |= {n for n, x in zip(mesh_shape, where, strict=True) if len(set(x)) > 1}
    return tuple(name for name in mesh_shape if name in spans)


def _computations(text: str) -> dict[str, list[str]]:
    """Lines of each computation by name; the entry is "ENTRY"."""
    found, lines = {}, []
    for line in text.splitlines():
        match = _COMPUTATION.match(line)
        if match:
            lines = []
            found["ENTRY" if line.startswith("ENTRY") else match[1]] = lines
        else:
            lines.append(line)
    return found


def _trips(line: str, calls: dict[str, str], computations) -> int:
    """How often a loop runs: as XLA notes it, or as its condition says `i < N`.

    XLA for TPU notes nothing; a scan's counter starts at 0.
    """
    if noted := _TRIPS.search(line):
        return int(noted[1])
    condition = computations.get(calls.get("condition"), [])
    limits = [int(x[1]) for x in map(_LIMIT.search, condition) if x]
    counts = any("ROOT" in x and "direction=LT" in x for x in condition)
    return limits[0] if counts and len(limits) == 1 else 1


def _called(line: str, computations) -> Iterator[tuple[str, int]]:
    """(computation, times) that an instruction runs."""
    calls = _CALLS.findall(line)
    trips = _trips(line, dict(calls), computations)
    for role, name in calls:
        yield name, trips if role == "body" else 1
    branches = _BRANCHES.search(line)
    for name in branches[1].split(",") if branches else ():
        yield name.strip().lstrip("%"), 1


def _executions(computations: dict[str, list[str]]) -> dict[str, int]:
    """How often a call of the program runs each computation."""
    counts = dict.fromkeys(computations, 0)

    def visit(name, times):
        counts[name] += times
        for line in computations[name]:
            if "=%" in line or "={%" in line:
                for callee, trips in _called(line, computations):
                    if callee in computations:
                        visit(callee, times * trips)

    visit("ENTRY", 1)
    return counts


def find_collectives(text: str, mesh_shape: dict[str, int]) -> list[Collective]:
    """The collectives of `compiled.as_text()`.

    mesh_shape: of the mesh it was compiled for, in order; tells the axes.

    XLA for TPU spreads one collective over several fusions, so that it runs behind
    other work; they share a channel and are counted once.
    """
    computations = _computations(text)
    counts, found = _executions(computations), {}
    for name, lines in computations.items():
        for number, line in enumerate(lines):
            match = _INSTRUCTION.match(line)
            if not match or not counts[name]:
                continue
            one = _collective(match, line, mesh_shape, counts[name])
            channel = re.search(r"channel_id=(\d+)", line)
            key = (one.kind, channel[1] if channel else (name, number))
            if key not in found or one.num_bytes > found[key].num_bytes:
                found[key] = one
    return list(found.values())


def _collective(match: re.Match, line: str, mesh_shape, count: int) -> Collective:
    arrays, kind = _arrays(match[1]), match[2]
    if match[3]:
        # A start gives (operand, result, ...): the larger of the two is moved.
        arrays = [max(arrays, key=lambda x: x[1])] if arrays else []
    groups = _groups(line)
    num_bytes = sum(size for _, size in arrays)
    if kind == "reduce-scatter" and not match[3]:
        num_bytes *= len(groups[0]) if groups else math.prod(mesh_shape.values())
    shape = max(arrays, key=lambda x: x[1])[0] if arrays else ()
    op_name = re.search(r'op_name="([^"]*)"', line)
    axes = _axes(groups, mesh_shape)
    return Collective(
        kind, axes, shape, num_bytes, count, op_name[1] if op_name else ""
    )


def sum_bytes(collectives: Sequence[Collective]) -> dict[tuple[str, str], int]:
    """Bytes a chip and call, by (kind, axes joined with "+")."""
    total = {}
    for one in collectives:
        key = (one.kind, "+".join(one.axes))
        total[key] = total.get(key, 0) + one.num_bytes * one.count
    return dict(sorted(total.items()))


def executed_lines(text: str) -> Iterator[tuple[str, int]]:
    """(line, how often a call of the program runs it) of all that it runs."""
    computations = _computations(text)
    counts = _executions(computations)
    for name, lines in computations.items():
        if counts[name]:
            yield from ((line, counts[name]) for line in lines)


def sum_cycles(text: str) -> tuple[int, int]:
    """(cycles that XLA's cost model gives a call, operations it failed at); TPU alone.

    Those operations and all that the model does not know count 0 cycles, loops as often
    as they run.
    """
    found = [
        (times, int(match[1]))
        for line, times in executed_lines(text)
        if (match := _CYCLES.search(line))
    ]
    cycles = sum(times * given for times, given in found if given < _UNKNOWN)
    return cycles, sum(times for times, given in found if given >= _UNKNOWN)
