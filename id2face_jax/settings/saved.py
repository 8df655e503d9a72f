"""Configs as JSON, and what a saved one must share with the one that is asked for.

Owns the lists of fields that a warm start, a resumed run and an autoencoder must agree
on. Leaves the folders that hold such files to `generation.exports`. Imports nothing
heavy.
"""

import json
from collections.abc import Sequence

import ml_collections

# What a warm start must agree on: which parameters there are and what they mean.
NETWORK_FIELDS = ("data.image_size", "autoencoder", "model")
MODEL_FIELDS = ("task", *NETWORK_FIELDS)
# Of those, what changes the meaning of parameters and not their shapes: a warm start
# learns it anew, if it is asked to.
ALLOWED_CHANGES = ("model.prediction", "model.schedule", "model.schedule_shift")
# A resumed run, too: which pairs are in a batch. The saved position counts batches, and
# on other ones it would be another place in another order.
DATA_FIELDS = ("seed", "data.records", "data.split", "data.batch_size")
DATA_FIELDS += ("data.pair_prob", "data.max_photos_per_person", "data.repeats")
RUN_FIELDS = (*MODEL_FIELDS, "autoencoder.critic_dim", "loss.critic_dim")
RUN_FIELDS += ("loss.verifier_dim", "loss.second_recognizer", *DATA_FIELDS)
# Of an autoencoder, its group.
AUTOENCODER_FIELDS = ("autoencoder",)
# Fields of those groups that change no network.
_FREE_FIELDS = (
    "weights",
    "latent_noise",
    "l1_weight",
    "l2_weight",
    "critic",
    "adversarial",
    "anchor",
    "smooth",
    "critic_dim",
    "attention",
    "sample_steps",
    "sample_temperature",
)


def to_json(config: ml_collections.ConfigDict) -> str:
    """The config as indented JSON, keys sorted."""
    return json.dumps(
        json.loads(config.to_json_best_effort()), indent=2, sort_keys=True
    )


def from_json(text: str) -> ml_collections.FrozenConfigDict:
    """The inverse of `to_json`, with tuples for lists."""
    data = json.loads(text)
    # Twice: one pass makes tuples, but remembers lists and is unequal to the original.
    once = ml_collections.FrozenConfigDict(data)
    return ml_collections.FrozenConfigDict(once.to_dict())


def _field(config: ml_collections.FrozenConfigDict, name: str) -> dict:
    """The values under a dotted name, by full name: of a group, all but free ones."""
    value = config
    for part in name.split("."):
        value = value.get(part, {})  # another kind of export lacks whole groups
    if not isinstance(value, ml_collections.FrozenConfigDict):
        return {name: value}
    return {f"{name}.{k}": v for k, v in value.items() if k not in _FREE_FIELDS}


def differences(saved, wanted, fields: Sequence[str]) -> dict[str, str]:
    """Name of each field that differs -> both values, in words.

    Args:
      saved, wanted: configs.
      fields: dotted names of fields or groups.
    """
    # Through JSON, where tuples and lists are the same.
    saved, wanted = (from_json(to_json(config)) for config in (saved, wanted))
    found = {}
    for name in fields:
        old, new = _field(saved, name), _field(wanted, name)
        found |= {
            key: f"{key} is {old.get(key)!r} there and {new.get(key)!r} here"
            for key in sorted(old | new)
            if old.get(key) != new.get(key)
        }
    return found


def check_same_fields(saved, wanted, fields: Sequence[str], where: str) -> None:
    """Raises ValueError, naming each difference, unless `fields` agree.

    Args:
      saved, wanted, fields: as for `differences`.
      where: what `saved` belongs to, for the message.
    """
    if found := differences(saved, wanted, fields):
        raise ValueError(
            f"{where} was made with other settings: {'; '.join(found.values())}. Set "
            "these fields back, or use another folder"
        )


def check_start(saved, wanted, where: str) -> list[str]:
    """The differences that a warm start goes on with, since they are allowed.

    Args:
      saved: config of the export at `where`.
      wanted: config of the run; its train.allow_changed names ALLOWED_CHANGES.

    Raises:
      ValueError: other differences, with what could be allowed.
    """
    # Finishing starts from the stage before, whose task is another.
    is_finishing = wanted.task == "finishing"
    fields = NETWORK_FIELDS if is_finishing else MODEL_FIELDS
    found = differences(saved, wanted, fields)
    allowed = [found.pop(name) for name in wanted.train.allow_changed if name in found]
    if not found:
        return allowed
    line = f"{where} was made with other settings: {'; '.join(found.values())}. "
    if set(found) <= set(ALLOWED_CHANGES):
        names = ",".join([*wanted.train.allow_changed, *found])
        raise ValueError(
            f"{line}Set these fields back, or train on with the change: "
            f"--config.train.allow_changed={names}"
        )
    raise ValueError(f"{line}Set these fields back, or start from another export")
