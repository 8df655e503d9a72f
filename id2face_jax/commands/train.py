"""Trains the autoencoder or the diffusion stage; the same command resumes.

Fields of the config are overridden as --config.group.field=value. SIGTERM saves a
checkpoint and stops with exit code 75, which tells a scheduler to run the same command
again.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --config, --workdir, --distributed, --patience and --fall-back."""
    parser.add_argument("--config", required=True, help="Python file, see configs/")
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


def load_config(path: str, overrides: Sequence[str] = ()):
    """The ConfigDict of a config file, with --config.key=value overrides applied.

    Args:
      path: file with get_config(); the folder above its own can be imported from, so
        that `from configs import base` works from anywhere.
      overrides: arguments as typed. Types and names are those of the file.

    Raises:
      ValueError: no such file, an unknown field (with a guess), a wrong type.
    """
    from absl import flags
    from ml_collections import config_flags

    file = pathlib.Path(path.partition(":")[0]).absolute()
    if not file.is_file():
        raise ValueError(f"config {path} does not exist; see the folder configs/")
    if str(file.parent.parent) not in sys.path:
        sys.path.insert(0, str(file.parent.parent))
    argv = ["id2face train", f"--config={path}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", lock_config=True, flag_values=values, sys_argv=argv
    )
    try:
        rest = values(argv)
        config = values.config
    except (flags.Error, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"config {path}: {error}") from error
    if rest[1:]:
        raise ValueError(f"{' '.join(rest[1:])}: expected --config.key=value")
    return config


def run(args: argparse.Namespace) -> int:
    """Trains until done or preempted."""
    from absl import flags

    from id2face_jax import processes, train

    config = load_config(args.config, args.overrides)
    # Grain reads absl flags, which are parsed by absl's own main only.
    flags.FLAGS.mark_as_parsed()
    processes.start(args.distributed, args.patience)
    processes.cache_compiled_programs(pathlib.Path(args.workdir))
    state = train.train_and_evaluate(config, args.workdir, args.fall_back)
    return 0 if int(state.step) >= config.train.num_steps else PREEMPTED
