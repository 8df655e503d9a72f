"""What several fields of a config must agree on, and which fields there must be.

Leaves the range of one field to `ranges`. Imports nothing heavy.
"""

import difflib
import math
from collections.abc import Collection, Iterator
from typing import Any

from id2face_jax.errors import UsageError
from id2face_jax.settings import ranges

# Fields of one kind of autoencoder or UNet alone.
OF_KIND = {
    "autoencoder": {
        "embedded": {"factor"},
        "stable_diffusion": {"scale", "codebook", "attention_levels", "groups"},
    },
    "model": {
        "embedded": {"unet_ratio", "unet_attention_from"},
        "stable_diffusion": {
            "unet_heads",
            "unet_attention_levels",
            "unet_groups",
            "token_dim",
            "identity_tokens",
            "attribute_grid",
        },
    },
}


def leaves(config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field of a config."""
    for key in config:
        value = config[key]
        if hasattr(value, "get_type"):  # a group
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def wanted(config) -> set[str]:
    """The names of the fields that a config of its kinds must have."""
    names = set(ranges.RULES)
    for group, kinds in OF_KIND.items():
        kind = config[group].get("kind")
        for other, fields in kinds.items():
            if other != kind:
                names -= {f"{group}.{field}" for field in fields}
    return names


def unknown(name: str, names: Collection[str]) -> UsageError:
    """The error for a field that is not there, with those that are spelled alike."""
    group, _, field = name.rpartition(".")
    beside = [one for one in names if one.rpartition(".")[0] == group]
    fields = [one.rpartition(".")[2] for one in beside]
    close = [f"{group}.{x}" for x in difflib.get_close_matches(field, fields, 3, 0.5)]
    close = close or difflib.get_close_matches(name, list(names), 3, 0.6)
    # The right field in the wrong group.
    close += [one for one in names if one.rpartition(".")[2] == field]
    if not close:
        close = [", ".join(sorted(beside or {one.split(".")[0] for one in names}))]
    known = " or ".join(one.removeprefix(".") for one in dict.fromkeys(close))
    return UsageError(f"{name} is no field of the config; did you mean {known}?")


def check(config) -> None:
    """Raises UsageError for a config that no run can have; says the first reason.

    config: a ConfigDict like that of configs/base.py.
    """
    for group in ("data", "autoencoder", "model", "loss", "optim", "train", "mesh"):
        if group not in config:
            raise UsageError(
                f"the config has no group {group}; begin get_config() with "
                "`from configs import base` and `config = base.get_config()`"
            )
    names = wanted(config)
    found = dict(leaves(config))
    for name, value in found.items():
        if name not in names:
            raise unknown(name, names)
        ranges.check(name, value)
    if missing := sorted(names - set(found)):
        raise UsageError(
            f"the config has no field {missing[0]}; begin get_config() with "
            "`from configs import base` and `config = base.get_config()`"
        )
    _check_levels(config)
    _check_image_size(config)
    _check_steps(config)
    if config.model.prediction == "eps" and config.model.schedule == "cosine":
        raise UsageError(
            "model.prediction is 'eps', which says nothing of the face where the "
            "cosine schedule starts; use v or x0, or model.schedule=stable_diffusion"
        )


def _check_levels(config) -> None:
    pairs = [("autoencoder", "dims", "depths"), ("model", "unet_dims", "unet_depths")]
    if config.model.kind == "stable_diffusion":
        pairs.append(("model", "unet_dims", "unet_heads"))
    for group, one, other in pairs:
        first, second = config[group][one], config[group][other]
        if len(first) != len(second):
            raise UsageError(
                f"{group}.{one} is {tuple(first)} and {group}.{other} is "
                f"{tuple(second)}; give both as many numbers as there are levels"
            )


def _check_image_size(config) -> None:
    model, ae = config.model, config.autoencoder
    factor = 2 ** (len(ae.dims) - 1)
    if ae.kind == "embedded":
        factor = ae.factor
    unit = factor * math.lcm(2 ** (len(model.unet_dims) - 1), model.attribute_stride)
    if config.data.image_size % unit:
        raise UsageError(
            f"data.image_size is {config.data.image_size}; latents of 1/{factor} the "
            f"size, {len(model.unet_dims)} UNet levels and model.attribute_stride="
            f"{model.attribute_stride} need a multiple of {unit}"
        )


def pairs_together(loss) -> int:
    """Pairs that a micro-batch needs a multiple of, to have its share of each kind."""
    return loss.returned_every or loss.deployed_every or 1


def _check_steps(config) -> None:
    optim, train = config.optim, config.train
    if optim.lr_warmup_steps + optim.lr_cooldown_steps > train.num_steps:
        raise UsageError(
            f"optim.lr_warmup_steps is {optim.lr_warmup_steps}, "
            f"optim.lr_cooldown_steps is {optim.lr_cooldown_steps} and train.num_steps "
            f"is {train.num_steps}; warm-up and cool-down must fit into the run"
        )
    # The loss treats every n-th pair of a micro-batch in its own way.
    has_groups = config.task == "id2face" or optim.accumulate > 1
    loss, deployed = config.loss, config.loss.deployed_every
    unit = optim.accumulate * (pairs_together(loss) if has_groups else 1)
    if config.data.batch_size % unit:
        raise UsageError(
            f"data.batch_size is {config.data.batch_size}; optim.accumulate="
            f"{optim.accumulate}, loss.deployed_every={loss.deployed_every} and "
            f"loss.returned_every={loss.returned_every} need a multiple of {unit}"
        )
    if loss.returned_every and (deployed == 1 or loss.returned_every % (deployed or 1)):
        raise UsageError(
            f"loss.returned_every is {loss.returned_every} and loss.deployed_every is "
            f"{deployed}; use a multiple of it, and not 1, so that no pair is both"
        )
    if loss.second_recognizer and not loss.second_dim:
        raise UsageError(
            f"loss.second_recognizer is {loss.second_recognizer!r} and loss.second_dim "
            "is 0; set it to the length of its embeddings"
        )
    if loss.second_recognizer and not deployed:
        raise UsageError(
            "loss.second_recognizer looks at deployed rows; set loss.deployed_every"
        )
