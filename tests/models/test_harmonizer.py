"""Laws of the gated harmonizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.models.harmonizer import Harmonizer
from id2face_jax.models.layers import rms_norm
from id2face_jax.models.recomposer import Condition
from tests.draws import normal, random_params

HARMONIZER = Harmonizer()
H, TEMB = normal(2, 4, 4, 8), normal(2, 16)
CONDITION = Condition(normal(2, 6), normal(2, 2, 2, 6))


def _apply(params, h=H, temb=TEMB, condition=CONDITION):
    """(output, gate)."""
    run = jax.jit(lambda *x: HARMONIZER.apply(params, *x, mutable="intermediates"))
    out, seen = run(h, temb, condition)
    return out, seen["intermediates"]["gate_map"][0]


@pytest.fixture(scope="module")
def params():
    variables = random_params(HARMONIZER, H, TEMB, CONDITION, scale=0.5)
    return {"params": variables["params"]}


def test_it_starts_as_the_plain_norm_whatever_the_condition():
    variables = jax.jit(HARMONIZER.init)(jax.random.key(0), H, TEMB, CONDITION)
    out, _ = _apply({"params": variables["params"]})
    np.testing.assert_allclose(out, rms_norm(H), atol=1e-6)


def test_the_gate_is_a_soft_choice(params):
    _, gate = _apply(params)
    assert gate.shape == H.shape
    assert np.all((gate > 0.0) & (gate < 1.0))


def test_the_gate_follows_the_noisy_feature_and_the_time_not_the_condition(params):
    _, gate = _apply(params)
    _, other_feature = _apply(params, h=normal(2, 4, 4, 8, seed=1))
    _, other_time = _apply(params, temb=normal(2, 16, seed=1))
    other = Condition(normal(2, 6, seed=1), normal(2, 2, 2, 6, seed=2))
    _, other_condition = _apply(params, condition=other)
    assert np.abs(other_feature - gate).max() > 1e-2
    assert np.abs(other_time - gate).max() > 1e-2
    np.testing.assert_array_equal(other_condition, gate)


def _with_gate(params, bias):
    gate = {"kernel": 0 * params["params"]["gate"]["kernel"], "bias": jnp.full(8, bias)}
    time = {"kernel": 0 * params["params"]["gate_time"]["kernel"]}
    return {"params": params["params"] | {"gate": gate, "gate_time": time}}


@pytest.mark.parametrize("bias, heard", [(50.0, "identity"), (-50.0, "attributes")])
def test_a_shut_gate_hears_one_side_only(params, bias, heard):
    shut = _with_gate(params, bias)
    base, _ = _apply(shut)
    for side, other in (
        ("identity", Condition(normal(2, 6, seed=1), CONDITION.attributes)),
        ("attributes", Condition(CONDITION.identity, normal(2, 2, 2, 6, seed=1))),
    ):
        change = np.abs(_apply(shut, condition=other)[0] - base).max()
        assert (change > 1e-2) == (side == heard)


def test_identity_is_the_same_everywhere_and_attributes_have_a_place(params):
    h = jnp.ones_like(H)  # equal features, so that only the condition differs by place
    place = Condition(CONDITION.identity, CONDITION.attributes.at[:, 0, 0].add(1.0))
    open_to_identity, _ = _apply(_with_gate(params, 50.0), h=h)
    np.testing.assert_allclose(
        open_to_identity,
        jnp.broadcast_to(open_to_identity[:, :1, :1], H.shape),
        atol=1e-5,
    )
    shut = _with_gate(params, -50.0)
    change = np.abs(_apply(shut, h=h, condition=place)[0] - _apply(shut, h=h)[0])
    assert change[:, :2, :2].max() > 1e-2
    np.testing.assert_array_equal(change[:, 2:, 2:], 0.0)


def test_the_sum_hears_both_sides_and_has_no_gate():
    plain = Harmonizer("sum")
    params = random_params(plain, H, TEMB, CONDITION, scale=0.5)
    assert set(params["params"]) == {"attributes", "identity"}
    apply = jax.jit(lambda condition: plain.apply(params, H, TEMB, condition))
    base, changes = apply(CONDITION), []
    for other in (
        Condition(normal(2, 6, seed=1), CONDITION.attributes),
        Condition(CONDITION.identity, normal(2, 2, 2, 6, seed=1)),
    ):
        changes.append(apply(other) - base)
        assert np.abs(changes[-1]).max() > 1e-2
    both = Condition(normal(2, 6, seed=1), normal(2, 2, 2, 6, seed=1))
    np.testing.assert_allclose(apply(both) - base, sum(changes), atol=1e-5)


def test_the_sum_starts_as_the_plain_norm():
    plain = Harmonizer("sum")
    variables = jax.jit(plain.init)(jax.random.key(0), H, TEMB, CONDITION)
    out = jax.jit(plain.apply)(variables, H, TEMB, CONDITION)
    np.testing.assert_allclose(out, rms_norm(H), atol=1e-6)


def test_attributes_are_heard_however_shut_the_gate_and_identity_through_it_alone():
    """What "identity_gated" changes: the gate has the identity to decide on."""
    harmonizer = Harmonizer("identity_gated")
    drawn = random_params(harmonizer, H, TEMB, CONDITION, scale=0.5)
    other_who = Condition(normal(2, 6, seed=1), CONDITION.attributes)
    other_rest = Condition(CONDITION.identity, normal(2, 2, 2, 6, seed=1))
    for bias, hears_identity in ((-50.0, False), (50.0, True)):
        params = _with_gate({"params": drawn["params"]}, bias)

        def out(condition, params=params):
            return harmonizer.apply(params, H, TEMB, condition)

        who, rest = (
            np.abs(out(x) - out(CONDITION)).max() for x in (other_who, other_rest)
        )
        assert (who > 1e-2) == hears_identity
        assert rest > 1e-2


def test_an_identity_map_has_a_place_as_attributes_have():
    where = normal(2, 2, 2, 6, seed=3)
    harmonizer = Harmonizer("identity_gated")

    def condition(where):
        return Condition(CONDITION.identity, CONDITION.attributes, None, where)

    params = random_params(harmonizer, H, TEMB, condition(where), scale=0.5)
    params = {"params": params["params"]}
    moved = condition(where.at[:, 0, 0].add(1.0))
    change = np.abs(
        harmonizer.apply(params, H, TEMB, moved)
        - harmonizer.apply(params, H, TEMB, condition(where))
    )
    assert change[:, :2, :2].max() > 1e-2
    np.testing.assert_array_equal(change[:, 2:, 2:], 0.0)


def test_a_finer_map_than_the_feature_is_averaged():
    fine = normal(2, 4, 4, 6, seed=4)
    coarse = fine.reshape(2, 2, 2, 2, 2, 6).mean(axis=(2, 4))
    h = normal(2, 2, 2, 8)
    one, other = (Condition(CONDITION.identity, x) for x in (fine, coarse))
    params = random_params(HARMONIZER, h, TEMB, one, scale=0.5)
    params = {"params": params["params"]}
    np.testing.assert_allclose(
        HARMONIZER.apply(params, h, TEMB, one),
        HARMONIZER.apply(params, h, TEMB, other),
        atol=1e-5,
    )
