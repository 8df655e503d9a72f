"""The figures that must be reached, each against what was measured.

Owns the bar and nothing else. A figure whose section did not run is "not measured",
never met.
"""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Bar:
    """One line: a figure, what it must be, and how to read it off the result.

    Attributes:
      figure, unit: for people.
      least, most: what meets it; one of them is None.
      read: result -> value; None or a missing part means that it was not measured.
    """

    figure: str
    unit: str
    read: Callable[[dict], float | None]
    least: float | None = None
    most: float | None = None

    @property
    def must(self) -> str:
        """The limit in words."""
        sign, limit = ("<=", self.most) if self.least is None else (">=", self.least)
        return f"{sign} {limit:g} {self.unit}"

    def verdict(self, result: dict) -> dict:
        """The line as it stands in the JSON; `met` is None if not measured."""
        try:
            value = self.read(result)
        except (KeyError, TypeError, StopIteration):  # its section is not there
            value = None
        met = None
        if value is not None:
            met = value <= self.most if self.least is None else value >= self.least
        return {
            "figure": self.figure,
            "must": self.must,
            "unit": self.unit,
            "measured": value,
            "met": met,
        }


def _compared(part: str, batch: int) -> Callable[[dict], float]:
    def read(result):
        rows = result["comparison"][part]["rows"]
        return next(row["ratio"] for row in rows if row["batch"] == batch)

    return read


def _share_at_16(result: dict) -> float:
    rows = result["sampler"]["rows"]
    return next(100 * row["share_of_ceiling"] for row in rows if row["batch"] == 16)


def _growth(values) -> float:
    few, many = values
    return 100 * (many / few - 1)


def _memory_growth(result: dict) -> float:
    folders = result["folders"]
    return _growth([folders["peak_bytes"][str(num)] for num in folders["photos"]])


BARS = (
    Bar(
        "default sampler against diffusers' UNet of equal parameters, batch 1",
        "x",
        _compared("samplers", 1),
        least=2.0,
    ),
    Bar("the same, batch 16", "x", _compared("samplers", 16), least=1.5),
    Bar(
        "train step against that UNet's, 64 examples",
        "x",
        lambda result: result["comparison"]["training"]["ratio"],
        least=1.5,
    ),
    Bar(
        "identical Stable-Diffusion-shaped UNet, batch 1",
        "x",
        _compared("identical", 1),
        least=1.2,
    ),
    Bar("the same, batch 16", "x", _compared("identical", 16), least=1.0),
    Bar("sampler at batch 16, of the product ceiling", "%", _share_at_16, least=60.0),
    Bar(
        "command to first picture, warm cache",
        "s",
        lambda result: result["startup"]["first_picture"]["warm"]["median"],
        most=6.0,
    ),
    Bar(
        "command to first picture, cold cache",
        "s",
        lambda result: result["startup"]["first_picture"]["cold"]["median"],
        most=20.0,
    ),
    Bar(
        "anonymize a folder of one-face photos, end to end",
        "faces/s",
        lambda result: result["folders"]["faces_per_s"],
        least=2.0,
    ),
    Bar(
        "time per face, growth from the small folder to the large",
        "%",
        lambda result: _growth(result["folders"]["seconds_per_face"]),
        most=10.0,
    ),
    Bar("peak memory, the same growth", "%", _memory_growth, most=10.0),
    Bar(
        "train step's wait for data",
        "%",
        lambda result: 100 * result["training"]["wait_share"],
        most=2.0,
    ),
    Bar(
        "train throughput kept on 4 host devices of the same cores",
        "%",
        lambda result: 100 * result["devices"]["kept"],
        least=90.0,
    ),
)


def verdicts(result: dict) -> list[dict]:
    """A line for each of BARS."""
    return [bar.verdict(result) for bar in BARS]
