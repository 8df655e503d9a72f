"""What an evaluation works in: people, networks, and the cache between them.

Methods make crops and networks look at them, chunk by chunk. Owns which computation
depends on which, so that a stopped run goes on and a changed part alone is done again.
Hands out plain arrays; what they mean is in `metrics`.
"""

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from id2face_jax.evaluation.cache import Stage
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.models import detectors, perceptual
from id2face_jax.evaluation.models.network import Network
from id2face_jax.evaluation.people import FRESH, Draw, People

BUILT_IN = "dlib"  # the recognizer that conditions the generator
# Raise when the arithmetic of any stage changes: old caches are then left alone.
_CODE = 1


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Crops that one method made, and where they are.

    Attributes:
      method: that made them.
      rows: which faces of the people, in this order.
      crops: stage with "crops" uint8, "seconds" a face, and "states" where the method
        has any.
      draw: of the identities.
    """

    method: Method
    rows: Int[np.ndarray, " n"]
    crops: Stage
    draw: Draw


class Context:
    """People, networks and the cache between them.

    Args:
      people: the faces.
      recognizers: by name, called as `recognizer(images, landmarks)`.
      pose, expression, second_detector: None where no file was given.
      root: the cache's folder.
    """

    def __init__(
        self,
        people: People,
        recognizers: dict[str, Network],
        root: pathlib.Path,
        pose: Network | None = None,
        expression: Network | None = None,
        second_detector: Network | None = None,
    ):
        self.people = people
        self.recognizers = recognizers
        self.pose, self.expression = pose, expression
        self.second_detector = second_detector
        self._root = root
        self._detector = detectors.make_detector()

    def outputs(
        self,
        method: Method,
        rows: Int[np.ndarray, " m"] | None = None,
        draw: Draw = FRESH,
        name: str = "all",
    ) -> Outputs:
        """Runs a method over some faces.

        Args:
          method: to run.
          rows: which faces; None takes all.
          draw: of identities.
          name: of this run among the method's, for the cache's folders.
        """
        people = self.people
        if rows is None:
            rows = np.arange(len(people))
        secret = draw.key and hashlib.sha256(draw.key).hexdigest()
        depends_on = [
            _CODE,
            people.fingerprint,
            people.seed,
            method.depends_on,
            rows.tolist(),
            [draw.attempt, secret] if method.draws_identity else None,
        ]
        stage = Stage(self._root, f"{method.name}/{name}-crops", depends_on, len(rows))

        def compute(chunk):
            batch = people.batch(rows[chunk], draw)
            start = time.perf_counter()
            made = method.make(batch)
            seconds = (time.perf_counter() - start) / len(batch.rows)
            return made | {"seconds": np.full(len(batch.rows), seconds)}

        stage.fill(compute)
        return Outputs(method, rows, stage, draw)

    def measure(self, outputs: Outputs, name: str, key, look: Callable) -> Stage:
        """A stage over outputs.

        Args:
          outputs: what to look at.
          name: of the stage.
          key: what its numbers depend on beside the crops (JSON-able).
          look: from (rows of the people, crops, slice of the outputs) to arrays.
        """
        crops = outputs.crops
        stage = Stage(
            self._root,
            crops.name.replace("-crops", f"-{name}"),
            [_CODE, crops.key, key],
            len(outputs.rows),
        )

        def compute(chunk):
            return look(outputs.rows[chunk], crops.chunk(chunk)["crops"], chunk)

        stage.fill(compute)
        return stage

    def faces(self, outputs: Outputs) -> Stage:
        """Stage with found, landmarks, box and score; see detectors.find_faces."""

        def look(rows, crops, chunk):
            del chunk
            landmarks = self.people.landmarks[rows]
            return detectors.find_faces(self._detector, crops, landmarks)

        return self.measure(outputs, "faces", "centerface", look)

    def embeddings(
        self, outputs: Outputs, name: str, swap_channels: bool = False
    ) -> np.ndarray:
        """(n, d) unit embeddings of outputs by one recognizer.

        swap_channels: exchange red and blue first, to check the recognizer's wiring.
        """
        recognizer, faces = self.recognizers[name], self.faces(outputs)

        def look(rows, crops, chunk):
            del rows
            landmarks = faces.chunk(chunk)["landmarks"]
            if swap_channels:
                crops = np.ascontiguousarray(crops[..., ::-1])
            return {"embedding": recognizer.run(list(crops), landmarks)}

        key = [
            faces.key,
            recognizer.sha256,
            recognizer.settings,
            swap_channels,
        ]
        stage = "swapped" if swap_channels else "embedding"
        return self.measure(outputs, f"{stage}-{name}", key, look).column("embedding")

    def _boxed(self, outputs: Outputs, name: str, network: Network, sources: Outputs):
        """What a network says of the box where the source's face was found."""
        boxes = self.faces(sources).column("box")

        def look(rows, crops, chunk):
            del chunk
            return {name: network.run(crops, boxes[rows])}

        key = [sources.crops.key, network.sha256]
        return self.measure(outputs, name, key, look).column(name)

    def poses(self, outputs: Outputs, sources: Outputs) -> np.ndarray:
        """(n, 3) head pose in degrees. sources: the untouched photos, all of them."""
        return self._boxed(outputs, "pose", self.pose, sources)

    def expressions(self, outputs: Outputs, sources: Outputs) -> np.ndarray:
        """(n, 7) expression probabilities. sources: as for `poses`."""
        return self._boxed(outputs, "expression", self.expression, sources)

    def second_found(self, outputs: Outputs) -> np.ndarray:
        """(n,) bool: the second detector sees the face."""
        detector = self.second_detector

        def look(rows, crops, chunk):
            del rows, chunk
            return {"found": detector.run(crops)}

        stage = self.measure(outputs, "second", detector.sha256, look)
        return stage.column("found")

    def features(self, outputs: Outputs, at: Int[np.ndarray, " m"]) -> np.ndarray:
        """(m, 512) perceptual.VGG_FEATURES of some of the outputs, by position."""
        key = [_CODE, outputs.crops.key, perceptual.VGG_FEATURES, at.tolist()]
        name = outputs.crops.name.replace("-crops", "-features")
        stage = Stage(self._root, name, key, len(at))

        def compute(chunk):
            crops = outputs.crops.rows("crops", at[chunk])
            return {"features": perceptual.vgg_features(crops)}

        stage.fill(compute)
        return stage.column("features")

    def repeat_difference(self, outputs: Outputs, num: int = 8) -> int:
        """Largest pixel difference when some faces are made again in reverse order."""
        at = np.linspace(0, len(outputs.rows) - 1, min(num, len(outputs.rows)))
        at = np.unique(at.astype(int))[::-1]
        again = outputs.method.make(self.people.batch(outputs.rows[at], outputs.draw))
        first = outputs.crops.rows("crops", at)
        return int(np.abs(again["crops"].astype(int) - first).max())

    def requested(self, outputs: Outputs) -> np.ndarray:
        """(n, d) embeddings that the method was asked to show, built-in recognizer."""

        def look(rows, crops, chunk):
            del crops, chunk
            batch = self.people.batch(rows, outputs.draw)
            return {"requested": outputs.method.requested(batch)}

        stage = self.measure(outputs, "requested", "requested", look)
        return stage.column("requested")
