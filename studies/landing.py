"""Lands the weights of a run for the next one to start from, without its paths.

    python -m studies.landing RUN OUT [DECODER]

RUN is a --workdir of configs/lfw128.py; OUT an export in bfloat16 whose config names
no folder of this machine. With DECODER, a --workdir of configs/autoencoder128.py or
configs/finishing128.py, OUT has its decoder. Both leak probes stay behind, to keep OUT
small: an adversary that is missing starts afresh.
"""

import pathlib
import sys

from configs import lfw128
from id2face_jax.generation import exports
from id2face_jax.settings import saved


def main() -> None:
    """Writes OUT and says which step it is of."""
    run, out, *decoder = map(pathlib.Path, sys.argv[1:])
    found, weights, step = exports.load_run(run)
    config = lfw128.get_config()
    saved.check_same_fields(found, config, saved.MODEL_FIELDS, str(run))
    if decoder:
        weights["autoencoder"] = exports.load_run(decoder[0])[1]["autoencoder"]
    for probe in ("leak_probe", "second_probe"):
        weights["model"].pop(probe, None)
    exports.save_export(out, config, weights, dtype="bfloat16")
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{out}: step {step}, {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
