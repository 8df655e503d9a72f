"""The training state: everything a checkpoint must hold, as one pytree of arrays."""

from typing import Any, Protocol, runtime_checkable

from flax import struct


@runtime_checkable
class Position(Protocol):
    """A place in the data: grain's iterator, whose import would slow every reader."""

    def get_state(self) -> dict: ...

    def set_state(self, state: dict) -> None: ...


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

    # All fields, also of shapes, shardings or numpy; optax's names for them are `Any`
    # too, and its import would slow every reader of weights.
    step: Any
    params: Any
    ema: Any
    opt_state: Any
    frozen: Any
