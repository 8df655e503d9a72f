"""What each field of a config may be: the one table of kinds and ranges.

Owns the rule of every field, and how a value is told from text on the command line.
Leaves meaning and default to configs/base.py, and what several fields must agree on to
`together`. Imports nothing heavy.
"""

import ast
import dataclasses
import math
from collections.abc import Callable
from typing import Any

from id2face_jax.errors import UsageError
from id2face_jax.settings.saved import ALLOWED_CHANGES

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a field may hold.

    Attributes:
      says: the same in words, to follow "use".
      allows: whether a Python value of a config file is right.
      read: text of the command line -> value; raises ValueError for no such value.
    """

    says: str
    allows: Callable[[Any], bool]
    read: Callable[[str], Any]


def _is_number(value, kinds) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def whole(least: int = 0, also: tuple[int, ...] = ()) -> Rule:
    """An integer of at least `least`, or one of `also`."""
    more = "".join(f", or {value}" for value in also)
    return Rule(
        f"a whole number, {least} or more{more}",
        lambda value: _is_number(value, int) and (value >= least or value in also),
        int,
    )


def real(least: float, most: float = math.inf, open_at: str = "") -> Rule:
    """A finite number from `least` to `most`. open_at: "[" or "]" excludes that end."""

    def allows(value):
        if not _is_number(value, (int, float)) or not math.isfinite(value):
            return False
        above = value > least if "[" in open_at else value >= least
        return above and (value < most if "]" in open_at else value <= most)

    start = f"above {least:g}" if "[" in open_at else f"{least:g} or more"
    end = f"below {most:g}" if "]" in open_at else f"at most {most:g}"
    if math.isfinite(most):
        says = f"{least:g} to {most:g}" if not open_at else f"{start} and {end}"
    else:
        says = start if math.isfinite(least) else "finite"
    return Rule(f"a number, {says}", allows, float)


def choice(*names: str) -> Rule:
    """One of a few words."""
    return Rule(f"one of {', '.join(names)}", lambda value: value in names, str)


def text(says: str) -> Rule:
    """Any string; `says` what it names."""
    return Rule(says, lambda value: isinstance(value, str), str)


def flag() -> Rule:
    """True or False."""

    def read(string: str) -> bool:
        if string.lower() not in TRUE + FALSE:
            raise ValueError(string)
        return string.lower() in TRUE

    return Rule("true or false", lambda value: isinstance(value, bool), read)


def several(of: Rule, least: int = 0, count: int | None = None) -> Rule:
    """A tuple whose elements follow `of`. least: elements at least; count: exactly."""
    number = f"{count}" if count else f"{least} or more" if least else "any number of"

    def allows(value):
        return (
            isinstance(value, (tuple, list))
            and len(value) >= least
            and count in (None, len(value))
            and all(map(of.allows, value))
        )

    def read(string: str) -> tuple:
        try:
            value = ast.literal_eval(string)
        except (ValueError, SyntaxError):  # words without quotes
            return tuple(of.read(part.strip()) for part in string.split(","))
        return value if isinstance(value, tuple) else (value,)

    return Rule(f"{number} values with commas, each {of.says}", allows, read)


def _pair(first: Rule, second: Rule, says: str) -> Rule:
    """A tuple of two, as in data.repeats."""

    def allows(value):
        two = isinstance(value, (tuple, list)) and len(value) == 2
        return two and first.allows(value[0]) and second.allows(value[1])

    return Rule(says, allows, ast.literal_eval)


_WEIGHT = real(0.0)  # of a loss
_SHARE = real(0.0, 1.0)
_WIDTHS = several(whole(1), least=1)

RULES: dict[str, Rule] = {
    "task": choice("autoencoder", "id2face", "finishing"),
    "seed": whole(0),
    "sharding_rules": several(
        _pair(text(""), choice("replicate", "fsdp"), "a pair ('PATH$', 'fsdp')"),
        least=1,
    ),
    "data.records": text("a folder that `id2face prepare` wrote, or synthetic"),
    "data.split": text("a split of the records"),
    "data.image_size": whole(16),
    "data.crop_units": real(112.0, 400.0),
    "data.crop_center": several(real(-math.inf), count=2),
    "data.batch_size": whole(1),
    "data.pair_prob": _SHARE,
    "data.max_photos_per_person": whole(0),
    "data.repeats": several(
        _pair(text(""), whole(1), "a pair ('BEGINNING', TIMES) such as ('pif_', 2)")
    ),
    "data.flip_prob": _SHARE,
    "data.color_jitter": _SHARE,
    "data.num_threads": whole(0),
    "autoencoder.kind": choice("embedded", "stable_diffusion"),
    "autoencoder.weights": text("an export of the autoencoder, or random"),
    "autoencoder.factor": whole(2),
    "autoencoder.latent_channels": whole(1),
    "autoencoder.dims": _WIDTHS,
    "autoencoder.depths": several(whole(0), least=1),
    "autoencoder.latent_noise": real(0.0),
    "autoencoder.critic_dim": whole(1),
    "autoencoder.critic": _WEIGHT,
    "autoencoder.adversarial": _WEIGHT,
    "autoencoder.anchor": _WEIGHT,
    "autoencoder.smooth": _WEIGHT,
    "autoencoder.l1_weight": _WEIGHT,
    "autoencoder.l2_weight": _WEIGHT,
    "autoencoder.scale": real(0.0, open_at="["),
    "autoencoder.codebook": whole(0),
    "autoencoder.attention_levels": several(whole(0)),
    "autoencoder.groups": whole(1),
    "model.kind": choice("embedded", "stable_diffusion"),
    "model.embedding_dim": whole(1),
    "model.identity_space": choice("vae", "gaussian"),
    "model.identity_dim": whole(1),
    "model.identity_hidden_dim": whole(1),
    "model.attribute_channels": whole(1),
    "model.attribute_stride": whole(1),
    "model.attribute_dim": whole(1),
    "model.attribute_depth": whole(0),
    "model.leak_probe_dim": whole(1),
    "model.condition_dim": whole(1),
    "model.portrait": flag(),
    "model.identity_grid": whole(0),
    "model.harmonizer": choice("identity_gated", "gated", "sum"),
    "model.masked": flag(),
    "model.unet_dims": _WIDTHS,
    "model.unet_depths": several(whole(0), least=1),
    "model.unet_ratio": real(0.0, open_at="["),
    "model.unet_attention_from": whole(0),
    "model.unet_heads": _WIDTHS,
    "model.unet_attention_levels": several(whole(0)),
    "model.unet_groups": whole(1),
    "model.attention": choice("auto", "xla"),
    "model.token_dim": whole(1),
    "model.identity_tokens": whole(1),
    "model.attribute_grid": whole(1),
    "model.prediction": choice("preconditioned", "scaled_x0", "x0", "v", "eps"),
    "model.schedule": choice("cosine", "stable_diffusion"),
    "model.schedule_shift": real(0.0, open_at="["),
    "model.sample_steps": whole(1),
    "model.sample_temperature": _SHARE,
    "loss.t_one_share": _SHARE,
    "loss.t_mean": real(-math.inf),
    "loss.t_std": real(0.0, open_at="["),
    "loss.max_v_weight": real(0.0, open_at="["),
    "loss.identity_free_nats": real(0.0),
    "loss.verifier_dim": whole(0),
    "loss.identity_dropout": _SHARE,
    "loss.deployed_every": whole(0),
    "loss.returned_every": whole(0),
    "loss.second_recognizer": text(
        "a recognizer that `id2face convert` wrote, or nothing"
    ),
    "loss.second_dim": whole(0),
    "loss.deployed_t_min": _SHARE,
    "loss.deployed_angle": real(0.0, 180.0),
    "loss.deployed_appearance": flag(),
    "loss.critic_dim": whole(0),
    "loss.critic_t_max": _SHARE,
    **dict.fromkeys(
        (
            "loss.recomposition",
            "loss.outside_mask",
            "loss.feature_weight",
            "loss.identity_reconstruction",
            "loss.identity_kl",
            "loss.identity_consistency",
            "loss.identity_alignment",
            "loss.portrait",
            "loss.attribute_kl",
            "loss.leak_probe",
            "loss.identity_leak",
            "loss.verifier",
            "loss.second_probe",
            "loss.second_leak",
            "loss.second_source",
            "loss.verified_leak",
            "loss.attribute_alignment",
            "loss.asked_identity",
            "loss.source_identity",
            "loss.critic",
            "loss.adversarial",
        ),
        _WEIGHT,
    ),
    "optim.lr": real(0.0, open_at="["),
    "optim.lr_warmup_steps": whole(0),
    "optim.lr_cooldown_steps": whole(0),
    "optim.lr_final_ratio": _SHARE,
    "optim.lr_multipliers": several(
        _pair(text(""), real(0.0), "a pair ('PATH', TIMES) such as ('^unet/', 0.1)")
    ),
    "optim.b1": real(0.0, 1.0, open_at="]"),
    "optim.adversary_b1": real(0.0, 1.0, open_at="]"),
    "optim.b2": real(0.0, 1.0, open_at="]"),
    "optim.weight_decay": real(0.0),
    "optim.clip_norm": real(0.0, open_at="["),
    "optim.ema_decay": real(0.0, 1.0, open_at="]"),
    "optim.accumulate": whole(1),
    "train.num_steps": whole(1),
    "train.log_every": whole(1),
    "train.sample_every": whole(1),
    "train.num_validation_batches": whole(0),
    "train.save_every": whole(1),
    "train.keep": whole(1),
    "train.max_minutes": real(0.0),
    "train.profile_at": whole(0),
    "train.profile_steps": whole(1),
    "train.dtype": choice("float32", "bfloat16"),
    "train.remat": choice("none", "full", "dots"),
    "train.init_from": text("an export to start from, or nothing"),
    "train.allow_changed": several(choice(*ALLOWED_CHANGES)),
    "mesh.data": whole(1, also=(-1,)),
    "mesh.fsdp": whole(1, also=(-1,)),
}


def wrong(name: str, value: Any, default: Any = None) -> UsageError:
    """The error that says what `name` may be. default: an example, if it is allowed."""
    rule = RULES[name]
    line = f"{name} is {value!r}; use {rule.says}"
    if default is None or not rule.allows(default) or default in ("", ()):
        return UsageError(line)
    shown = str(default).replace(" ", "") if isinstance(default, tuple) else default
    quote = '"' if isinstance(default, tuple) else ""
    return UsageError(f"{line}, such as --config.{name}={quote}{shown}{quote}")


def check(name: str, value: Any) -> None:
    """Raises UsageError if a field's value is out of its range or of another kind."""
    if not RULES[name].allows(value):
        raise wrong(name, value)
