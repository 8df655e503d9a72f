"""Draws new faces for faces of the records: a labelled grid, source beside result.

Columns: the source, its own identity back, and three faces with other identities.
"""

import argparse
import pathlib
import sys

from id2face_jax.commands import options
from id2face_jax.errors import UsageError

# Where no split is asked for: people that training did not see, if there are any.
_SPLITS = ("validation", "test", "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what to sample from, how, and where to."""
    group = parser.add_argument_group("faces and files")
    options.add_checkpoint(group)
    group.add_argument(
        "--records",
        required=True,
        metavar="DIR",
        help="Take faces from the records that `id2face prepare` wrote here.",
    )
    group.add_argument(
        "--split",
        help="Take faces of this split. (default: validation, else test, else train)",
    )
    group.add_argument(
        "--num",
        type=int,
        default=16,
        metavar="N",
        help="Take so many faces; all, where there are fewer.",
    )
    options.add_out(group, "Write this PNG file.", "runs/sample.png", "FILE")
    group = parser.add_argument_group("new faces")
    options.add_seed(group)
    options.add_strength(group, 0, 180)
    group.add_argument(
        "--mode",
        default="embedding",
        choices=("embedding", "latent", "none", "own", "null"),
        help="Hold the new identity away from the source's in embedding or latent "
        "space; or draw a random one (none), the source's (own), or nobody's (null).",
    )
    options.add_steps(group)
    options.add_temperature(group)


def _check_usage(args: argparse.Namespace) -> None:
    if not 0.0 <= args.strength <= 180.0:
        raise UsageError(f"--strength is {args.strength:g}; use 0 to 180 degrees")
    if args.seed < 0:
        raise UsageError(f"--seed is {args.seed}; use 0 or more")
    if args.num < 1:
        raise UsageError(f"--num is {args.num}; use 1 face or more")
    if args.steps is not None and args.steps < 1:
        raise UsageError(f"--steps is {args.steps}; use 1 or more")
    if args.temperature is not None and not 0.0 <= args.temperature <= 1.0:
        raise UsageError(f"--temperature is {args.temperature:g}; use 0 to 1")
    if pathlib.Path(args.out).suffix.lower() != ".png":
        raise UsageError(f"--out is {args.out}; use a name that ends in .png")


def _split(args: argparse.Namespace) -> str:
    """The split to sample: the one asked for, else the first that there is."""
    from id2face_jax.settings import preflight

    found = preflight.read_splits(args.records)
    if args.split is None:
        return next((x for x in _SPLITS if x in (found or _SPLITS)), _SPLITS[0])
    preflight.check_split(args.records, args.split, "--split SPLIT")
    return args.split


def run(args: argparse.Namespace) -> int:
    """Samples and writes the grid."""
    _check_usage(args)
    split = _split(args)
    import time

    import ml_collections

    from id2face_jax.data import pipeline
    from id2face_jax.generation import exports, sampling
    from id2face_jax.training import grids

    config, weights = exports.load_weights(args.checkpoint)
    if config.task != "id2face":
        raise ValueError(
            f"{args.checkpoint} holds the {config.task} stage, which cannot sample; "
            "give a run or export of task id2face"
        )
    config = sampling.with_defaults(config, args.steps, args.temperature)
    wanted = ml_collections.ConfigDict(config).copy_and_resolve_references()
    wanted.data.records = args.records
    source = pipeline.open_source(wanted, split)
    num = min(args.num, len(source))
    if num < args.num:
        print(
            f"{args.records}: {split} has {num} faces, all are taken", file=sys.stderr
        )
    began = time.perf_counter()
    cells, labels = sampling.sample_columns(
        config,
        weights,
        sampling.load_faces(source, num),
        mode=args.mode,
        num_steps=config.model.sample_steps,
        angle=args.strength,
        seed=args.seed,
    )
    grids.save_png(args.out, grids.make_grid(cells, labels))
    seconds = time.perf_counter() - began
    print(f"{args.out}: {num} faces of {split} in {seconds:.1f} s")
    return 0
