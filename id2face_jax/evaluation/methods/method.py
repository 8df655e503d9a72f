"""What a method of the evaluation is: a name and a function from crops to crops."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.evaluation.people import Batch

Crops = UInt8[np.ndarray, "n s s 3"]


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
      name, meaning: for people.
      run: from a batch of faces to new crops, uint8 (n, s, s, 3); with `states`, to
        those and the state of each, (n,).
      depends_on: what the crops depend on beside the faces and seeds (JSON-able).
      must_hide: whether an output that is still recognized fails the evaluation.
      draws_identity: whether another identity seed gives another face.
      boxed: changes the face box, not the identity mask.
      requested: from a batch to the unit embeddings (n, d) that were asked for.
      states: what may become of a photo, and what that means; None: always the same.
    """

    name: str
    meaning: str
    run: Callable[[Batch], Crops | tuple[Crops, np.ndarray]]
    depends_on: Any
    must_hide: bool = False
    draws_identity: bool = False
    boxed: bool = False
    requested: Callable[[Batch], Float[np.ndarray, "n d"]] | None = None
    states: Mapping[str, str] | None = None

    def make(self, batch: Batch) -> dict[str, np.ndarray]:
        """The "crops" of a batch, and the "states" where there are any."""
        made = self.run(batch)
        if self.states is None:
            return {"crops": made}
        return dict(zip(("crops", "states"), made, strict=True))
