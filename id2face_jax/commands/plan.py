"""Compiles training and sampling for a TPU or GPU cluster that is not here.

What a run needs and how long it takes, before anything is rented: memory by class,
FLOPs, collectives, estimated time. The programs are those of `id2face train`, compiled
by XLA for the named chips. Exit code 3: it does not fit. See docs/scaling.md.
"""

import argparse
import sys

from id2face_jax.commands import options

DOES_NOT_FIT = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the config, the topology and what to vary."""
    options.add_config(parser)
    parser.add_argument(
        "--topology",
        required=True,
        metavar="KIND:SIZES",
        help="Plan for these chips: v5e:16x16, v5p:4x4x4, v4:4x4x4, v6e:4x4, h100:8, "
        "h100:2x8, ...",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="PAIRS",
        help="Train on so many pairs a step. (default: the config's batch_size)",
    )
    parser.add_argument(
        "--fsdp",
        type=int,
        metavar="CHIPS",
        help="Let so many chips share one copy of the state; the others go to `data`. "
        "(default: the config's, or what divides it and the number of chips)",
    )
    parser.add_argument(
        "--only",
        choices=("step", "sampler"),
        help="Plan one program. (default: both)",
    )
    parser.add_argument(
        "--effort",
        type=float,
        default=0.0,
        help="Let the compiler try less hard, -1 to 0: -0.5 is done in a quarter of "
        "the time; memory and time are then those of a slower program.",
    )
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="Find the largest batch that fits, and the quickest mesh for it.",
    )
    parser.add_argument(
        "--json", action="store_true", help="Print a JSON object a line, not a table."
    )


def run(args: argparse.Namespace) -> int:
    """Plans, and says what came out."""
    import json
    import os

    # A plan needs no device of this machine; CUDA must be there to compile for it.
    is_gpu = args.topology.startswith("h100")
    os.environ.setdefault("JAX_PLATFORMS", "cpu,cuda" if is_gpu else "cpu")
    from id2face_jax.plan import chips, estimate, sweep, table
    from id2face_jax.settings.load import load_config

    if args.sweep and (args.batch or args.fsdp or args.only):
        raise ValueError("--sweep finds the batch and the mesh of the step by itself")
    config = load_config(args.config, args.overrides)
    topology = chips.make_topology(args.topology)

    def show(one):
        text = json.dumps(table.to_json(one)) if args.json else table.to_text(one)
        print(text + ("" if args.json else "\n"), flush=True)

    if args.sweep:

        def attempt(batch, fsdp):
            print(f"batch {batch}, fsdp {fsdp} ...", file=sys.stderr, flush=True)
            return estimate.make_estimate(
                config, topology, "step", batch, fsdp, args.effort
            )

        num_chips = len(topology.devices)
        best = sweep.find_best(attempt, num_chips, config.optim.accumulate)
        show(best)
        return 0 if best.fits else DOES_NOT_FIT
    fits = True
    for program in estimate.PROGRAMS if args.only is None else (args.only,):
        if program == "sampler" and config.task != "id2face":
            continue  # an autoencoder draws nobody
        one = estimate.make_estimate(
            config, topology, program, args.batch, args.fsdp, args.effort
        )
        show(one)
        fits &= one.fits
    return 0 if fits else DOES_NOT_FIT
