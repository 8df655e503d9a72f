"""From the name of a config and --config.key=value to a checked ConfigDict.

Owns finding and running config files, and overrides. Leaves what fields may be to
`ranges` and `together`. Imports nothing heavy.
"""

import importlib.util
import pathlib
import sys
import traceback
from collections.abc import Sequence

from id2face_jax.errors import UsageError
from id2face_jax.settings import ranges, together

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_PREFIX = "--config."
_PARTS = {"__init__", "base", "full_scale"}  # that experiments are made from


def named_folder() -> pathlib.Path:
    """The folder of the named configs: of a wheel, or beside a clone's package."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def names() -> list[str]:
    """What may be given as --config without a path."""
    return sorted({x.stem for x in named_folder().glob("*.py")} - _PARTS)


def find(spec: str) -> pathlib.Path:
    """The file of a config: a path, or a name such as lfw128.

    Raises UsageError, with the names that there are, for neither.
    """
    path = pathlib.Path(spec)
    if path.suffix == ".py" and path.is_file():
        return path.absolute()
    # configs/lfw128.py, too: as our texts say it, where there is no clone.
    named = named_folder() / f"{path.stem}.py"
    if named.is_file() and path.parent in (pathlib.Path(), pathlib.Path("configs")):
        return named
    raise UsageError(
        f"--config is {spec}, which is no .py file; use the path of one with "
        f"get_config(), or one of {', '.join(names())}"
    )


def _make_importable(file: pathlib.Path) -> None:
    """`from configs import base`, and modules beside the file, work from anywhere."""
    if "configs" not in sys.modules:
        beside = file.parent
        is_configs = beside.name == "configs" and (beside / "base.py").is_file()
        folder = beside if is_configs else named_folder()
        spec = importlib.util.spec_from_file_location(
            "configs",
            folder / "__init__.py",
            submodule_search_locations=[str(folder)],
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["configs"] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))


def _run(file: pathlib.Path):
    """What get_config() of a file returns. Raises UsageError with the line at fault."""
    _make_importable(file)
    spec = importlib.util.spec_from_file_location("id2face_config", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        make = getattr(module, "get_config", None)
        if make is None:
            raise UsageError(
                f"{file} has no get_config(); see {named_folder() / 'smoke.py'} for "
                "what a config looks like"
            )
        return make()
    except UsageError:
        raise
    except SyntaxError as error:
        raise UsageError(
            f"{error.filename}, line {error.lineno}: {error.msg}; correct the file"
        ) from error
    except Exception as error:  # whatever the user's file does
        line = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(file)
        ]
        raise UsageError(
            f"{file}, line {line[-1] if line else '?'}: {type(error).__name__}: "
            f"{error}; correct the file"
        ) from error


def load_config(spec: str, overrides: Sequence[str] = ()):
    """The checked ConfigDict of a config file, with overrides applied; locked.

    Args:
      spec: path of a file with get_config(), or the name of a shipped one. Modules
        beside the file, and `from configs import base`, can be imported in it.
      overrides: arguments as typed, --config.key=value or --config.key value.

    Raises:
      UsageError: no such file, a mistake in it, an unknown field, a value of another
        kind or out of its range, or fields that do not fit together.
    """
    import ml_collections

    file = find(spec)
    config = _run(file)
    if not isinstance(config, ml_collections.ConfigDict):
        raise UsageError(
            f"get_config() of {file} returns a {type(config).__name__}; return a "
            "ml_collections.ConfigDict, as `base.get_config()` is"
        )
    for name, text in _split(overrides):
        _override(config, name, text)
    together.check(config)
    config.lock()
    return config


def _split(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """(field, text) of each override. Raises UsageError for any other argument."""
    found, rest = [], list(overrides)
    while rest:
        argument = rest.pop(0)
        name, has_value, text = argument.partition("=")
        if not argument.startswith(_PREFIX):
            raise UsageError(
                f"{argument}: no such option; a field of the config is changed as "
                f"{_PREFIX}optim.lr=3e-4, and --help lists the options"
            )
        if not has_value:
            if not rest or rest[0].startswith("--"):
                raise UsageError(
                    f"{argument} has no value; write {argument}=VALUE, without spaces"
                )
            text = rest.pop(0)
        found.append((name.removeprefix(_PREFIX), text))
    return found


def _override(config, name: str, text: str) -> None:
    known = dict(together.leaves(config))
    if name not in known or name not in ranges.RULES:
        raise together.unknown(name, [one for one in known if one in ranges.RULES])
    try:
        value = ranges.RULES[name].read(text)
    except (ValueError, SyntaxError) as error:
        raise ranges.wrong(name, text, known[name]) from error
    if not ranges.RULES[name].allows(value):
        raise ranges.wrong(name, value, known[name])
    group, _, field = name.rpartition(".")
    holder = config
    for part in filter(None, group.split(".")):
        holder = holder[part]
    holder[field] = type(known[name])(value)
