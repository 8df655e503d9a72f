"""Start-up: from the command to the first picture, and what compiling takes of it.

Owns the children: each measurement is a process of its own, as a user starts it. Cold
is an empty folder of compiled programs; the operating system's file cache is warm.
"""

import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

from id2face_jax.benchmark import timing
from id2face_jax.generation import exports

_CACHE = "ID2FACE_CACHE_DIR"


def anonymize_command(
    source: pathlib.Path, out: pathlib.Path, checkpoint: str | None
) -> list[str]:
    """`id2face anonymize` as a user would call it."""
    command = [sys.executable, "-m", "id2face_jax.cli", "anonymize", str(source)]
    command += ["--out", str(out), "--overwrite", "--quiet", "--on-no-face", "skip"]
    return command + (["--checkpoint", checkpoint] if checkpoint else [])


def first_picture(photo: pathlib.Path, checkpoint: str | None, repeats: int) -> dict:
    """Seconds and peak bytes from the command to one written photo, cold and warm."""
    cold, warm, peaks = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / f"out{photo.suffix}"
            command = anonymize_command(photo, out, checkpoint)
            for times in (cold, warm):
                child = timing.run_child(command, **{_CACHE: folder})
                times.append(child.seconds)
                peaks.append(child.peak_bytes)
    return {
        "cold": timing.summary(cold),
        "warm": timing.summary(warm),
        "peak_bytes": max(peaks),
    }


def compile_times(checkpoint: str | None, repeats: int) -> dict:
    """Seconds to trace and compile the sampler of one face.

    "cold" into an empty folder, "cached" from it in a second process.
    """
    module = [sys.executable, "-m", "id2face_jax.benchmark.startup"]
    command = module + ([checkpoint] if checkpoint else [])
    times: dict[str, list[dict]] = {"cold": [], "cached": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for found in times.values():
                child = timing.run_child(command, **{_CACHE: folder})
                found.append(json.loads(child.output.splitlines()[-1]))
    return {
        name: {
            part: timing.summary([one[part] for one in found])
            for part in ("trace", "compile")
        }
        for name, found in times.items()
    }


def main(argv: Sequence[str]) -> None:
    """Prints the seconds of this process as JSON; argv: [checkpoint]."""
    import jax

    from id2face_jax.anonymize.pipeline import generator
    from id2face_jax.benchmark import sampler

    generator.use_compilation_cache()
    model = sampler.Model(*exports.load_weights(argv[0] if argv else None))
    faces = sampler.make_faces(model.config, 1)
    seeds = jax.numpy.zeros(1, jax.numpy.uint32)
    program = sampler.jitted(model, model.config.model.sample_steps)
    start = time.perf_counter()
    lowered = program.lower(model.weights, faces, seeds)
    traced = time.perf_counter()
    lowered.compile()
    done = time.perf_counter()
    print(json.dumps({"trace": traced - start, "compile": done - traced}))


if __name__ == "__main__":
    main(sys.argv[1:])
