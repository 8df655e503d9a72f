"""The training state: everything a checkpoint must hold, as one pytree of arrays."""

from typing import Any

import optax
from flax import struct


@struct.dataclass
class TrainState:
    """Step, parameters, their average, the optimizer's state, frozen parameters.

    Attributes:
      step: int32 scalar, optimizer updates done; the only counter of a run.
      params: trainable parameters, float32.
      ema: exponential moving average of `params`, float32; sampling uses it alone.
      opt_state: optax state.
      frozen: parameters that are used and never updated ({} where there are none).
    """

    step: Any  # as all fields, also of shapes, shardings or numpy
    params: optax.Params
    ema: optax.Params
    opt_state: optax.OptState
    frozen: optax.Params
