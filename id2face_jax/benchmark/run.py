"""The benchmark, told once: which sections, at which sizes, in which order.

Owns the result's outline; every figure is made in the module of its section.
"""

import dataclasses
import datetime
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.benchmark import (
    anonymizing,
    bars,
    comparison,
    machine,
    sampler,
    startup,
    table,
    training,
)
from id2face_jax.benchmark.training import Run
from id2face_jax.generation import exports

SCHEMA_VERSION = "1.0"
SECTIONS = (
    *("sampler", "training", "devices", "startup", "stages", "folders", "deface"),
    "comparison",
)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
      side: of the square matrices of the ceiling.
      repeats: of what takes under a second; `few` of what takes longer.
      batches: of the sampler; steps: of its further rows, at the second batch.
      num_steps: of the sampler elsewhere; None is the model's own.
      pairs: of a train step.
      stage_photos: photos whose stages are timed.
      folders: photos in the small and in the large folder.
      compared: batches of the comparisons.
      shape: of the network that both frameworks run.
    """

    side: int = 2048
    repeats: int = 5
    few: int = 3
    batches: tuple[int, ...] = (1, 4, 16, 64)
    steps: tuple[int, ...] = (4, 25)
    num_steps: int | None = None
    pairs: int = 32
    stage_photos: int = 32
    folders: tuple[int, int] = (10, 100)
    compared: tuple[int, int] = (1, 16)
    shape: dict = dataclasses.field(default_factory=lambda: comparison.STABLE)


TINY_STABLE = comparison.STABLE | {
    **{"dims": (16, 32), "attention_levels": (0,), "depth": 1, "heads": 2},
    **{"groups": 4, "context": 16, "tokens": 7, "side": 8},
}
QUICK = Sizes(128, 1, 1, (1, 2), (), 2, 2, 2, (2, 3), (1, 2), TINY_STABLE)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user asked for; paths as strings or None."""

    checkpoint: str | None = None
    compare: str | None = None
    photos: str | None = None
    records: str | None = None
    only: Sequence[str] = SECTIONS
    quick: bool = False
    num_photos: int | None = None

    @property
    def sizes(self) -> Sizes:
        """QUICK or the full ones, with the large folder as asked for."""
        sizes = QUICK if self.quick else Sizes()
        if self.num_photos is None:
            return sizes
        small = sizes.folders[0]
        if self.num_photos <= small:
            raise ValueError(
                f"--num-photos is {self.num_photos}; the large folder must hold more "
                f"than the small one's {small}"
            )
        return dataclasses.replace(sizes, folders=(small, self.num_photos))


def measure(options: Options, out: pathlib.Path) -> dict:
    """The whole result, ready for JSON; docs/performance.md explains the figures.

    out: benchmark.json and benchmark.md are written there after every section, so that
    what took minutes is not lost if a later one fails.
    """
    check_sections(options.only)
    sizes = options.sizes
    torch = comparison.open_torch(options.compare)
    wanted = set(options.only) - (set() if torch else {"comparison"})
    if not wanted:
        raise ValueError("--only comparison needs --compare diffusers; give that, too")
    model = sampler.Model(*exports.load_weights(options.checkpoint))
    result = {
        "schema_version": SCHEMA_VERSION,
        "quick": options.quick,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "conditions": machine.describe(torch),
        "model": {
            "steps": sizes.num_steps or model.config.model.sample_steps,
            "image_size": model.config.data.image_size,
        },
        "machine": machine.ceilings(sizes.side, sizes.repeats, torch),
    }
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(options, sizes, model, result, pathlib.Path(folder))
        for name, section in bench.sections().items():
            if name in wanted:
                print(f"id2face benchmark: {name} ...", file=sys.stderr, flush=True)
                result[name] = section()
                result["bars"] = bars.verdicts(result)
                _write(result, out)
    return result


def check_sections(names: Sequence[str]) -> None:
    """Raises ValueError for a section that is none."""
    for name in names:
        if name not in SECTIONS:
            raise ValueError(
                f"--only names {name!r}; expected some of {', '.join(SECTIONS)}"
            )


class _Bench:
    """What the sections share; a method a section."""

    def __init__(self, options, sizes, model, result, folder):
        self._options, self._sizes, self._model = options, sizes, model
        self._steps = result["model"]["steps"]
        self._ceiling = result["machine"]["product"]["ceiling"]
        self._folder = folder
        self._photos: list[pathlib.Path] = []
        self._run: Run | None = None

    def sections(self) -> dict[str, Callable[[], dict | None]]:
        """What makes each of SECTIONS, in their order."""
        makers = (
            *(self.sampler, self.training, self.devices, self.startup, self.stages),
            *(self.folders, self.deface, self.comparison),
        )
        return dict(zip(SECTIONS, makers, strict=True))

    def sampler(self) -> dict:
        sizes = self._sizes
        settings = [(batch, self._steps) for batch in sizes.batches]
        settings += [(sizes.batches[1], steps) for steps in sizes.steps]
        return sampler.measure(self._model, settings, sizes.few, self._ceiling)

    def training(self) -> dict:
        config = self._train_config()
        num_steps = 2 * self._sizes.repeats
        return training.measure(self._train_run(), config, num_steps, self._ceiling)

    def devices(self) -> dict:
        path, sizes = self._options.checkpoint, self._sizes
        return training.across_devices(path, max(sizes.pairs, 4), sizes.few)

    def startup(self) -> dict:
        path, few = self._options.checkpoint, self._sizes.few
        return {
            "first_picture": startup.first_picture(self.photos(1)[0], path, few),
            "compile": startup.compile_times(path, 1),
        }

    def stages(self) -> dict:
        anonymizer = Anonymizer.from_pretrained(self._options.checkpoint)
        photos = self.photos(self._sizes.stage_photos)
        return anonymizing.measure_stages(anonymizer, photos)

    def folders(self) -> dict:
        sizes, path = self._sizes, self._options.checkpoint
        photos = self.photos(sizes.folders[1])
        return anonymizing.folders(photos, path, sizes.folders, sizes.few)

    def deface(self) -> dict | None:
        sizes = (1, self._sizes.folders[1])
        return anonymizing.deface(self.photos(sizes[1]), sizes)

    def comparison(self) -> dict:
        sizes = self._sizes
        return {
            "samplers": comparison.compare_samplers(
                self._model, sizes.compared, self._steps, sizes.repeats
            ),
            "training": comparison.compare_training(
                self._model, self._train_run(), 2 * sizes.pairs, sizes.few
            ),
            "identical": comparison.compare_identical(
                sizes.compared, sizes.repeats, sizes.shape
            ),
        }

    def photos(self, num: int) -> list[pathlib.Path]:
        """The first `num` of the photos that all sections share."""
        most = max(self._sizes.folders[1], self._sizes.stage_photos)
        if not self._photos:
            source, folder = self._options.photos, self._folder / "photos"
            if source is None:
                self._photos = anonymizing.write_photos(folder, most)
            else:
                self._photos = anonymizing.copy_photos(
                    pathlib.Path(source), folder, most
                )
        return self._photos[:num]

    def _train_config(self):
        return training.make_config(
            self._model, self._sizes.pairs, self._options.records
        )

    def _train_run(self) -> Run:
        if self._run is None:
            self._run = training.make_run(self._train_config(), self._model)
        return self._run


def _write(result: dict, out: pathlib.Path) -> None:
    # NaN and infinity are bugs, and raise.
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, allow_nan=False)
    (out / "benchmark.json").write_text(text + "\n", encoding="utf-8")
    (out / "benchmark.md").write_text(table.to_markdown(result), encoding="utf-8")
