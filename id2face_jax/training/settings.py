"""A config file and its overrides to a ConfigDict. Imports nothing heavy."""

import pathlib
import sys
from collections.abc import Sequence


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
