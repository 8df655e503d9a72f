"""What a user chooses for the anonymizer, checked once."""

import dataclasses

# At 180 degrees the new embedding would be the source's opposite, and so tell who it
# was; this far the random part still has half the length.
MAX_ANGLE = 150.0
# What the attributes keep of the source adds to what is asked for: at 90 degrees the
# new face's measured cosine to its source is 0.07, at 100 it is 0.00 (200 photos of the
# split "validation", built-in recognizer, by which alone this was chosen).
STRENGTH = 100.0
_RANGES = {
    "strength": (
        90.0,
        MAX_ANGLE,
        "degrees; at 90 the identity asked for is orthogonal",
    ),
    "det_threshold": (0.01, 0.99, "the detector's score"),
    "mask_scale": (1.0, 1.5, "a smaller mask would show the face"),
    "max_attempts": (0, 100, "0 blurs every face"),
}


@dataclasses.dataclass(frozen=True)
class FaceOptions:
    """What a user chooses.

    Attributes:
      seed: of everything random; with a key, of the noise alone.
      strength: degrees between the source's embedding and the one asked for.
      det_threshold: least score of a face; low, since a missed face is worse than a
        changed poster.
      mask_scale: multiplies the sides of the changed region.
      max_attempts: how often a face is generated before it is blurred.
      on_failure: "blur" a face that cannot be hidden, or "refuse" its picture.
      key: secret of keyed identities; None gives each face a fresh one.
      appearance: "free": anybody; or "keep" apparent sex, age and skin tone, so that
        the new face fits the body, at a price in privacy (docs/anonymizing.md).
    """

    seed: int = 0
    strength: float = STRENGTH
    det_threshold: float = 0.2
    mask_scale: float = 1.0
    max_attempts: int = 4
    on_failure: str = "blur"
    key: bytes | None = dataclasses.field(default=None, repr=False)
    appearance: str = "free"

    def __post_init__(self):
        for name, (low, high, meaning) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; use {low} to {high} ({meaning})")
        if self.on_failure not in ("blur", "refuse"):
            raise ValueError(f"on_failure is {self.on_failure!r}; use blur or refuse")
        if self.appearance not in ("keep", "free"):
            raise ValueError(f"appearance is {self.appearance!r}; use keep or free")

    def angle(self, attempt: int) -> float:
        """Degrees of attempt 0, 1, ...: from the third on, 30 more each time."""
        return min(self.strength + 30.0 * max(0, attempt - 1), MAX_ANGLE)
