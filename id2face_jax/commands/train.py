"""Trains the autoencoder or the diffusion stage; the same command resumes.

Fields of the config are overridden as --config.group.field=value. SIGTERM and Ctrl-C
save a checkpoint and stop with exit code 75, which tells a scheduler to run the same
command again.
"""

import argparse
import pathlib

from id2face_jax.commands import options

PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --config, --workdir, --distributed, --patience and --fall-back."""
    options.add_config(parser)
    parser.add_argument(
        "--workdir",
        required=True,
        metavar="DIR",
        help="Keep the run in this folder; one in progress continues.",
    )
    parser.add_argument(
        "--distributed",
        default="none",
        metavar="HOW",
        help="Train in this process alone (none), as SLURM, a TPU pod or another "
        "cluster says (auto), or as process I of N with the coordinator at HOST "
        "(I/N@HOST:PORT).",
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=100,
        metavar="SECONDS",
        help="End all processes with an error if one is dead or silent for so long.",
    )
    parser.add_argument(
        "--fall-back",
        action="store_true",
        help="Set a damaged newest checkpoint aside, and go on from the one before.",
    )


def run(args: argparse.Namespace) -> int:
    """Trains until done or preempted."""
    from id2face_jax.settings import load, preflight
    from id2face_jax.training import progress, runtime

    # First what is quick to tell: jax and what else trains take many seconds to load.
    runtime.check(args.distributed, args.patience)
    config = load.load_config(args.config, args.overrides)
    preflight.check_run(config, args.workdir)
    progress.hide_library_noise()
    from absl import flags

    from id2face_jax.training import train

    # Grain reads absl flags, which are parsed by absl's own main only.
    flags.FLAGS.mark_as_parsed()
    runtime.start(args.distributed, args.patience)
    runtime.save_on_interrupt()
    runtime.cache_compiled_programs(pathlib.Path(args.workdir))
    state = train.train_and_evaluate(config, args.workdir, args.fall_back)
    if config.train.max_minutes and runtime.minutes() >= config.train.max_minutes:
        return 0
    return 0 if int(state.step) >= config.train.num_steps else PREEMPTED
