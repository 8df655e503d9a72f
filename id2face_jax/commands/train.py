"""Trains the autoencoder or the diffusion stage; the same command resumes.

Fields of the config are overridden as --config.group.field=value. SIGTERM saves a
checkpoint and stops with exit code 75, which tells a scheduler to run the same command
again.
"""

import argparse
import pathlib

PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --config, --workdir, --distributed, --patience and --fall-back."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME",
        help="of a shipped config such as lfw128, or a .py file with "
        "get_config(); fields are changed as --config.group.field=value",
    )
    parser.add_argument(
        "--workdir", required=True, help="folder of the run; one in progress continues"
    )
    parser.add_argument(
        "--distributed",
        default="none",
        metavar="HOW",
        help="none: this process alone (default); auto: as SLURM, a TPU pod or another "
        "cluster says; I/N@HOST:PORT: process I of N, with the coordinator there",
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=100,
        metavar="SECONDS",
        help="a process that is dead or silent for so long ends all others with an "
        "error (default: 100)",
    )
    parser.add_argument(
        "--fall-back",
        action="store_true",
        help="where the newest checkpoint is damaged, set it aside and go on from the "
        "one before",
    )


def run(args: argparse.Namespace) -> int:
    """Trains until done or preempted."""
    from id2face_jax.settings import load, preflight
    from id2face_jax.training import runtime

    # First what is quick to tell: jax and what else trains take many seconds to load.
    runtime.check(args.distributed, args.patience)
    config = load.load_config(args.config, args.overrides)
    preflight.check_run(config, args.workdir)
    from absl import flags

    from id2face_jax.training import train

    # Grain reads absl flags, which are parsed by absl's own main only.
    flags.FLAGS.mark_as_parsed()
    runtime.start(args.distributed, args.patience)
    runtime.cache_compiled_programs(pathlib.Path(args.workdir))
    state = train.train_and_evaluate(config, args.workdir, args.fall_back)
    if config.train.max_minutes and runtime.minutes() >= config.train.max_minutes:
        return 0
    return 0 if int(state.step) >= config.train.num_steps else PREEMPTED
