"""Reading HLO: each way it writes groups, loops, and one collective in many fusions."""

import jax
import pytest

from id2face_jax.data import pipeline
from id2face_jax.plan import hlo
from id2face_jax.training import programs, sharding
from tests import runs

MESH = {"data": 2, "fsdp": 4}


def program(*lines, more=""):
    return "\n".join(
        ["HloModule m", more, "ENTRY %main (p: f32[8]) -> f32[8] {", *lines]
    )


def gather(groups, channel=1):
    return (
        f"  %a.{channel} = f32[8,4]{{1,0}} all-gather(%p), channel_id={channel}, "
        f'{groups}, dimensions={{0}}, metadata={{op_name="jit(f)/layer/dot"}}'
    )


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", ("fsdp",)),
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", ("data",)),
        ("replica_groups={}", ("data", "fsdp")),
        ("replica_groups=[2,4]<=[8]", ("fsdp",)),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", ("data",)),
        ("replica_groups=[1,8]<=[8]", ("data", "fsdp")),
        ("replica_groups=mesh['a'=2,'b'=1,'c'=4] {'c'}", ("fsdp",)),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}", ("data",)),
        ("replica_groups=mesh['a'=8] {'a'}", ("data", "fsdp")),
        (
            "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}",
            ("fsdp",),
        ),
    ],
)
def test_groups_tell_the_axes(groups, axes):
    (one,) = hlo.find_collectives(program(gather(groups)), MESH)
    assert (one.kind, one.axes, one.shape) == ("all-gather", axes, (8, 4))
    assert (one.num_bytes, one.count, one.op_name) == (128, 1, "jit(f)/layer/dot")


@pytest.mark.parametrize(
    ("line", "kind", "num_bytes"),
    [
        (
            "%r = (f32[2]{0}, bf16[3]{0}) all-reduce(%a, %b), replica_groups={{0,1}}",
            "all-reduce",
            14,
        ),
        # Four chips give 4 x 8 bytes each, and each keeps the sum of its 8.
        (
            "%r = f32[2]{0} reduce-scatter(%a), replica_groups=[2,4]<=[8]",
            "reduce-scatter",
            32,
        ),
        (
            "%r = (bf16[2]{0}, bf16[8]{0}) all-gather-start(%a), "
            "replica_groups=[2,4]<=[8]",
            "all-gather",
            16,
        ),
        (
            "%r = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%a), "
            "source_target_pairs={{0,4},{1,5}}",
            "collective-permute",
            16,
        ),
    ],
)
def test_bytes_of_a_chip(line, kind, num_bytes):
    (one,) = hlo.find_collectives(program("  " + line), MESH)
    assert (one.kind, one.num_bytes) == (kind, num_bytes)


def test_a_loop_counts_as_often_as_it_runs_and_a_chain_of_fusions_once():
    body = "\n".join(
        ["%body (p: f32[8]) -> f32[8] {", gather("replica_groups={}"), "}"]
    )
    chain = body.replace("%body", "%fused").replace("channel_id=1", "channel_id=2")
    text = program(
        '  %w = f32[8] while(%p), body=%body, backend_config={"known_trip_count":'
        '{"n":"50"}}',
        "  %f.1 = f32[8] fusion(%w), calls=%fused",
        "  %f.2 = f32[8] fusion(%f.1), calls=%fused.2",
        more=body + "\n" + chain + "\n" + chain.replace("%fused", "%fused.2"),
    )
    found = hlo.find_collectives(text, MESH)
    assert sorted(one.count for one in found) == [1, 50]
    assert hlo.sum_bytes(found) == {("all-gather", "data+fsdp"): 51 * 128}


def test_where_nothing_notes_a_loops_length_its_condition_tells():
    """As XLA for TPU writes scans."""
    body = ["%body (p: f32[8]) -> f32[8] {", gather("replica_groups={}"), "}"]
    limit = "  %c.1 = s32[]{:T(128)} constant(50), metadata={stack_frame_id=18}"
    test = "  ROOT %lt = pred[]{:T(512)} compare(%i, %c.1), direction=LT"
    for direction, count in (("LT", 50), ("EQ", 1)):
        last = test.replace("LT", direction)
        lines = [*body, "%cond (p: s32[]) -> pred[] {", limit, last, "}"]
        loop = "  %w = f32[8] while(%p), condition=%cond, body=%body"
        text = program(loop, more="\n".join(lines))
        assert [one.count for one in hlo.find_collectives(text, MESH)] == [count]


def test_cycles_add_up():
    line = '  %f = f32[8] fusion(%p), backend_config={"estimated_cycles":"12"}'
    assert hlo.sum_cycles(program(line, line)) == (24, 0)
    # What a quick compilation gives for what it could not estimate.
    unknown = line.replace('"12"', '"9223372036854775807"')
    assert hlo.sum_cycles(program(line, unknown, unknown)) == (12, 2)


def test_the_step_gathers_kernels_and_no_activations():
    """FSDP as it is meant: each kernel is gathered, gradients are summed, no more."""
    config = runs.tiny_config(data__batch_size=16)
    layout = programs.make_layout(config, runs.make_mesh(2, 4))
    example = pipeline.first_batch(config, 1)
    compiled = programs.lower_step(config, layout, example).compile()
    found = hlo.find_collectives(compiled.as_text(), dict(layout.mesh.shape))
    gathers = [one for one in found if one.kind == "all-gather"]
    assert {one.axes for one in gathers if "concatenate" not in one.op_name} == {
        ("fsdp",)
    }
    kernels = [
        x
        for x in jax.tree.leaves(layout.state.params)
        if x.sharding.spec != sharding.replicated(layout.mesh).spec
    ]
    gathered = sum(one.num_bytes for one in gathers if one.axes == ("fsdp",))
    assert gathered == sum(4 * x.size for x in kernels)
    # Gradients: summed over fsdp whole, over data the shard that a chip keeps.
    total = hlo.sum_bytes(found)
    summed = total.get(("all-reduce", "fsdp"), 0)
    summed += total.get(("reduce-scatter", "fsdp"), 0)
    assert gathered <= summed <= 1.1 * gathered
    assert total["all-reduce", "data"] == gathered / 4
