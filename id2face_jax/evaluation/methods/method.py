"""What a method of the evaluation is: a name and a function from crops to crops."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.evaluation.people import Batch


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
      name, meaning: for people.
      run: from a batch of faces to new crops, uint8 (n, s, s, 3).
      depends_on: what the crops depend on beside the faces and seeds (JSON-able).
      must_hide: whether an output that is still recognized fails the evaluation.
      draws_identity: whether another identity seed gives another face.
      boxed: changes the face box, not the identity mask.
      requested: from a batch to the unit embeddings (n, d) that were asked for.
    """

    name: str
    meaning: str
    run: Callable[[Batch], UInt8[np.ndarray, "n s s 3"]]
    depends_on: Any
    must_hide: bool = False
    draws_identity: bool = False
    boxed: bool = False
    requested: Callable[[Batch], Float[np.ndarray, "n d"]] | None = None
