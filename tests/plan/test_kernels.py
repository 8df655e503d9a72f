"""Time of fused kernels: what is found in a program, and what the table makes of it."""

import dataclasses

import pytest

from id2face_jax.plan import chips, kernels

CHIP = dataclasses.replace(chips.CHIPS["v5p"], clock=1e9, cores=2)
# As libtpu prints a forward pass that a scan runs three times, and a backward pass.
TEXT = """
HloModule jit_step
%body (p: (s32[])) -> (s32[]) {
  %splash_mha_fwd_residuals.1 = (f32[16,1024,40]{2,1,0}, bf16[16,8,4096,40]{3,2,1,0}) \
custom-call(%a, %b, %c), custom_call_target="tpu_custom_call", \
operand_layout_constraints={s8[1,4,2]{2,1,0}, bf16[16,8,4096,40]{3,2,1,0}}
}
%condition (p: (s32[])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}
ENTRY %main (a: bf16[2]) -> bf16[2] {
  %while.1 = (s32[]) while(%x), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
  %splash_mha_dkv_no_residuals.2 = (f32[16,2048,40]{2,1,0}) custom-call(%d, %e), \
custom_call_target="tpu_custom_call", \
operand_layout_constraints={s8[1,2,4]{2,1,0}, bf16[16,8,4096,40]{3,2,1,0}}
}
"""
FORWARD, BACKWARD = ("fwd", 4096, 40), ("dkv", 4096, 40)
FOUND = {FORWARD: 3 * 16 * 8, BACKWARD: 16 * 8}


def test_kernels_are_found_as_often_as_they_run():
    assert kernels.find(TEXT) == FOUND
    assert kernels.find(TEXT.replace("splash_mha", "other")) == {}


def test_the_cores_of_a_chip_share_the_heads(monkeypatch):
    table = {"v5p": {FORWARD: 1000, BACKWARD: 5000}}
    monkeypatch.setattr(kernels, "BUNDLES", table)
    bundles = 3 * 128 * 1000 + 128 * 5000
    seconds, missing = kernels.seconds(FOUND, CHIP)
    assert (seconds, missing) == (pytest.approx(bundles / 2 / 1e9), 0)
    one = dataclasses.replace(CHIP, cores=1)
    assert kernels.seconds(FOUND, one)[0] == pytest.approx(2 * seconds)


def test_what_the_table_lacks_is_counted_and_takes_no_time(monkeypatch):
    monkeypatch.setattr(kernels, "BUNDLES", {"v5p": {FORWARD: 1000}})
    assert kernels.seconds({BACKWARD: 8}, CHIP) == (0.0, 1)
    assert kernels.seconds(FOUND, CHIP)[1] == 1
    assert kernels.seconds(FOUND, chips.CHIPS["v6e"]) == (0.0, 2)
    assert kernels.seconds({}, chips.CHIPS["h100"]) == (0.0, 0)


def test_blocks_of_the_other_side_are_read_again():
    array = 4096 * 128 * 2  # of a head: 40 channels are padded to the lanes
    # Four blocks of queries, two of keys: three more and one more time than once.
    assert kernels.reread_bytes({FORWARD: 1}) == 3 * 2 * array
    assert kernels.reread_bytes({BACKWARD: 1}) == 1 * 2 * array
    assert kernels.reread_bytes({("fwd", 1024, 40): 8}) == 0


def test_no_head_is_quicker_than_its_products_at_the_peak():
    """But for what the bound leaves out of a loop's head and tail, below 1 %."""
    for kind, table in kernels.BUNDLES.items():
        chip = chips.CHIPS[kind]
        for (which, length, width), bundles in table.items():
            products = 2 if which == "fwd" else 5
            least = products * 2 * length**2 * width / (chip.flops / chip.cores)
            assert bundles / chip.clock > 0.99 * least
