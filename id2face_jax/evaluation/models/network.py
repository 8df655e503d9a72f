"""A network that measures, and what the cache calls it."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Network:
    """A recognizer, a detector or an estimator.

    Attributes:
      run: the network's call, see `detectors`, `estimators` and `faces.embed`.
      sha256: of its file.
      independent: whether it had no part in making the pictures.
      settings: what else its numbers depend on.
    """

    run: Callable
    sha256: str
    independent: bool = True
    settings: str = ""
