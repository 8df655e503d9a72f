"""How many pairs a core reads a second, and how many cores an accelerator's host needs.

    python -m id2face_jax.benchmark.loader --config configs/ffhq512.py [--records R]

Owns the measurement of the training pipeline alone: records, pairs, augmentation and
batches, as `id2face train` reads them, on one thread. What it gives is of this
machine's cores; a core of another differs.
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

import cv2
import ml_collections
import numpy as np
import skimage.data

from id2face_jax.data import pipeline, prepare, records
from id2face_jax.faces import align

NUM_STAND_INS = 16


@dataclasses.dataclass(frozen=True)
class Host:
    """An accelerator's host.

    Attributes:
      name: of chips.CHIPS.
      num_chips: of one host.
      num_threads: hardware threads (vCPUs), two to a core.
    Source: Google Cloud's pages of ct5p-hightpu-4t and ct5lp-hightpu-4t.
    """

    name: str
    num_chips: int
    num_threads: int


HOSTS = (Host("v5p", 4, 208), Host("v5e", 4, 112))


def write_stand_ins(out: pathlib.Path, crop: prepare.Crop, dim: int) -> None:
    """Records as large as real ones, from scikit-image's public-domain portrait."""
    face = skimage.data.astronaut()[:256, 96:352]
    size, rng = crop.size, np.random.default_rng(0)
    made = []
    for index in range(NUM_STAND_INS):
        image = cv2.resize(np.roll(face, index, axis=1), (size, size))
        # What a camera adds; without it a JPEG is small, and quick to read.
        image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        vector = rng.normal(size=dim)
        made.append(
            records.Record(
                image=prepare.encode_crop(image),
                landmarks=align.template(size, crop.geometry),
                matrix=np.eye(2, 3, dtype=np.float32),
                embedding=(vector / np.linalg.norm(vector)).astype(np.float32),
                person=str(index // 2),
                person_id=index // 2,
                photo=str(index),
            )
        )
    summary = {"settings": crop.settings()}
    records.write_records(out, {"train": made}, size, dim, summary)


def measure(config: ml_collections.ConfigDict, seconds: float) -> float:
    """Pairs a second of one core's time.

    Processor time, not the wall's: other work on this machine does not count.
    """
    config = ml_collections.ConfigDict(config).copy_and_resolve_references()
    config.data.num_threads, config.data.batch_size = 0, 8
    iterator = pipeline.make_train_iterator(config)
    next(iterator)  # opens files
    began, num = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        num += len(next(iterator)["is_pair"])
    return num / spent


def report(
    config: ml_collections.ConfigDict, pairs_per_s: float, flops: float, mfu: float
) -> str:
    """What was measured, and what it means for `HOSTS`, as text.

    Args:
      pairs_per_s: of a core, see `measure`.
      flops: model FLOPs of a pair.
      mfu: utilisation that the chips are fed for, in (0, 1].
    """
    from id2face_jax.plan import chips

    lines = [
        f"{config.data.image_size} px: {pairs_per_s:.1f} pairs/s a core "
        f"({2 * pairs_per_s:.1f} photos/s)",
        f"a pair is {flops / 1e12:.2f} TFLOPs of training",
    ]
    for host in HOSTS:
        wanted = host.num_chips * mfu * chips.CHIPS[host.name].flops / flops
        lines.append(
            f"{host.name} host, {host.num_chips} chips at {100 * mfu:.0f} % MFU: "
            f"{wanted:.0f} pairs/s, {wanted / pairs_per_s:.1f} cores of the "
            f"{host.num_threads // 2} it has"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; the module's docstring shows the call."""
    parser = argparse.ArgumentParser(description="Speed of the training pipeline.")
    parser.add_argument("--config", required=True, help="Python file, see configs/")
    parser.add_argument("--records", help="of `id2face prepare`; default: stand-ins")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one core")
    parser.add_argument("--mfu", type=float, default=0.45, help="of the chips to feed")
    args = parser.parse_args(argv)
    from id2face_jax.plan import estimate
    from id2face_jax.settings.load import load_config

    try:
        config = load_config(args.config)
        with tempfile.TemporaryDirectory() as folder:
            config.data.records = args.records or str(pathlib.Path(folder) / "records")
            if not args.records:
                data, dim = config.data, config.model.embedding_dim
                crop = prepare.Crop(data.image_size, align.geometry_of(data))
                write_stand_ins(pathlib.Path(data.records), crop, dim)
            pairs_per_s = measure(config, args.seconds)
        flops = estimate.flops_of_a_pair(config)
    except ValueError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(report(config, pairs_per_s, flops, args.mfu))
    return 0


if __name__ == "__main__":
    sys.exit(main())
