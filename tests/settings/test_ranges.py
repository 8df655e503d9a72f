"""Every field of every config has a rule; what breaks it is told with the way out."""

import importlib
import math

import pytest

from id2face_jax.diffusion import process
from id2face_jax.errors import UsageError
from id2face_jax.models import harmonizer, id2face, unet
from id2face_jax.settings import load, ranges, together

CONFIGS = {
    name: importlib.import_module(f"configs.{name}").get_config()
    for name in load.names()
}
FIELDS = sorted({name for c in CONFIGS.values() for name, _ in together.leaves(c)})


def holder(name):
    """(a config that has the field, its group, the field's last name)."""
    config = next(
        c.copy_and_resolve_references()
        for c in CONFIGS.values()
        if name in dict(together.leaves(c))
    )
    group, _, field = name.rpartition(".")
    return config, (config[group] if group else config), field


def outside(rule) -> list:
    """Values that the rule must refuse: of another kind, and beyond its ends."""
    candidates = [None, "\0", -2, -1e9, 1e9 + 0.5, math.inf, math.nan, (), ("\0",), []]
    candidates += [True, 7, ("a",), (("a", "b"),)]
    return [value for value in candidates if not rule.allows(value)]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_shipped_configs_keep_the_rules(name):
    together.check(CONFIGS[name])


def test_every_field_has_a_rule_and_every_rule_a_field():
    assert set(FIELDS) == set(ranges.RULES)


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_out_of_range_is_told_with_the_field_and_what_it_may_be(name):
    config, group, field = holder(name)
    rule = ranges.RULES[name]
    wrong = outside(rule)
    assert wrong
    for value in wrong:
        with group.ignore_type():
            group[field] = value
        # A kind that is unknown decides which other fields there are.
        with pytest.raises(UsageError) as error:
            ranges.check(name, group[field])
        assert str(error.value).startswith(f"{name} is ")
        assert f"use {rule.says}" in str(error.value)


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_is_read_back_from_the_command_line(name):
    for config in CONFIGS.values():
        value = dict(together.leaves(config)).get(name)
        if value is not None:
            assert ranges.RULES[name].read(str(value)) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim.ema_decay", 1.5),
        ("optim.ema_decay", 1.0),
        ("data.pair_prob", 7.0),
        ("train.dtype", "fp16"),
        ("train.log_every", 0),
        ("train.keep", -1),
        ("train.num_steps", 2.5),
        ("train.num_steps", True),
        ("optim.lr", 0.0),
        ("mesh.data", 0),
        ("data.crop_center", (1.0,)),
        ("model.unet_dims", (0, 16)),
        ("data.repeats", (("a", 0),)),
        ("train.allow_changed", ("model.unet_dims",)),
    ],
)
def test_mistakes_that_once_trained_in_silence(name, value):
    with pytest.raises(UsageError, match=name):
        ranges.check(name, value)


def test_words_of_a_choice_are_those_that_the_code_knows():
    def words(name):
        return set(ranges.RULES[name].says.removeprefix("one of ").split(", "))

    assert words("model.harmonizer") == set(harmonizer.FUSIONS)
    assert words("model.prediction") == set(process.PREDICTIONS)
    assert words("model.identity_space") == set(id2face.IDENTITY_SPACES)
    assert words("train.remat") == {"none", *unet.REMAT_POLICIES}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.image_size": 40}, "data.image_size is 40.*need a multiple of 16"),
        ({"model.unet_dims": (8, 16, 32)}, r"unet_dims is \(8, 16, 32\) and .*levels"),
        ({"autoencoder.depths": (1,)}, "autoencoder.depths is .*levels"),
        ({"optim.lr_cooldown_steps": 95}, "lr_cooldown_steps is 95 .*must fit"),
        ({"optim.accumulate": 3}, "data.batch_size is 8; .*multiple of 12"),
        ({"model.prediction": "eps"}, "prediction is 'eps'.*schedule=stable_diffusion"),
    ],
)
def test_fields_that_do_not_fit_together_are_told(changes, message):
    config = CONFIGS["smoke"].copy_and_resolve_references()
    for name, value in changes.items():
        group, _, field = name.rpartition(".")
        config[group][field] = value
    with pytest.raises(UsageError, match=message):
        together.check(config)


def test_a_field_that_a_file_misspells_or_drops_is_told():
    config = CONFIGS["smoke"].copy_and_resolve_references()
    config.optim.ema_decy = 0.5
    with pytest.raises(UsageError, match="optim.ema_decy is no .* optim.ema_decay?"):
        together.check(config)
    config = CONFIGS["smoke"].copy_and_resolve_references()
    del config.train.keep
    with pytest.raises(UsageError, match="no field train.keep; begin get_config"):
        together.check(config)
    del config.train
    with pytest.raises(UsageError, match="no group train; begin get_config"):
        together.check(config)
