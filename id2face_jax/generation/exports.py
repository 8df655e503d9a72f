"""Exports of EMA weights, and reading weights out of a training run.

Owns the folder of an *export*, which holds what a user needs: the config, the EMA
parameters under weights/ (Orbax, its v0 API) and a card that names them, there whole or
not at all. Leaves the
resumable state of a run to `training.checkpoint`, and what the parameters mean to
`models`.
"""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

import id2face_jax
from id2face_jax.settings.saved import from_json, to_json

CHECKPOINTS = "checkpoints"
CONFIG, WEIGHTS, CARD = "config.json", "weights", "card.json"
PRETRAINED = pathlib.Path(__file__).parents[1] / "pretrained" / "lfw128"
DTYPES = ("float32", "bfloat16", "float16")


def steps_folder(workdir: str | os.PathLike) -> pathlib.Path:
    """The folder of a run's checkpoints, absolute as Orbax wants it."""
    return pathlib.Path(workdir).absolute() / CHECKPOINTS


def newest_step(workdir: str | os.PathLike) -> int | None:
    """The step of a run's newest whole checkpoint; None without one."""
    folder = steps_folder(workdir)
    return max(
        ocp.path.step.checkpoint_steps(folder) if folder.is_dir() else (), default=None
    )


def _read_tree(path: pathlib.Path, keep) -> dict:
    """Part of an Orbax pytree item, as float32 numpy arrays.

    keep: the tree of what the item holds to the subtree wanted of it.
    """
    # The handler itself: a checkpointer looks for metadata that items of a step lack.
    handler = ocp.PyTreeCheckpointHandler()
    item = keep(handler.metadata(epath.Path(path)).tree)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
    args = ocp.args.PyTreeRestore(
        item=item, restore_args=as_numpy, partial_restore=True
    )
    restored = handler.restore(epath.Path(path), args=args)
    handler.close()
    return jax.tree.map(lambda x: np.asarray(x, np.float32), restored)


def is_workdir(path: str | os.PathLike) -> bool:
    """Whether `path` looks like the --workdir of a training run."""
    return steps_folder(path).is_dir()


def load_run(
    workdir: str | os.PathLike, step: int | None = None
) -> tuple[ml_collections.FrozenConfigDict, dict, int]:
    """Config, EMA weights (see `load_export`) and step of a training run.

    step: which checkpoint; None is the newest. Raises ValueError if it is not there.
    """
    folder = steps_folder(workdir)
    steps = []
    if folder.is_dir():
        steps = sorted(ocp.path.step.checkpoint_steps(folder))
    if not steps or step not in (None, *steps):
        raise ValueError(
            f"{folder} has no checkpoint{'' if step is None else f' of step {step}'}; "
            f"steps there: {', '.join(map(str, steps)) or 'none'}. Train with "
            "`id2face train --workdir` first"
        )
    step = steps[-1] if step is None else step
    handler = ocp.JsonCheckpointHandler()
    saved = handler.restore(epath.Path(folder / str(step) / "config"))
    config = from_json(json.dumps(saved))
    path = folder / str(step) / "state"
    if config.task == "autoencoder":
        tree = _read_tree(path, lambda tree: {"ema": tree["ema"]})
        return config, {"autoencoder": tree["ema"]}, step
    if config.task == "finishing":
        tree = _read_tree(
            path,
            lambda tree: {
                "ema": {"decoder": tree["ema"]["decoder"]},
                "frozen": {"model": tree["frozen"]["model"]},
            },
        )
        weights = {"model": tree["frozen"]["model"], "autoencoder": tree["ema"]}
        return _with_task(config, "id2face"), weights, step
    tree = _read_tree(
        path,
        lambda tree: {
            "ema": tree["ema"],
            "frozen": {"autoencoder": tree["frozen"]["autoencoder"]},
        },
    )
    weights = {"model": tree["ema"], "autoencoder": tree["frozen"]["autoencoder"]}
    return config, weights, step


def _with_task(config, task: str) -> ml_collections.FrozenConfigDict:
    changed = ml_collections.ConfigDict(config.to_dict())
    changed.task = task
    return ml_collections.FrozenConfigDict(changed)


def save_export(
    out: str | os.PathLike,
    config: ml_collections.ConfigDict,
    weights: dict,
    dtype: str = "float32",
) -> pathlib.Path:
    """Writes the new folder `out`: config.json, weights/, card.json; all or nothing.

    Args:
      out: must not exist yet.
      config: of the run.
      weights: {"model", "autoencoder"} or, of an autoencoder run, {"autoencoder"}.
      dtype: storage, one of DTYPES; half the bytes for the 16-bit ones.

    Raises:
      ValueError: `out` exists, the dtype is unknown, or float16 cannot hold a value.
    """
    out = pathlib.Path(out).absolute()
    if out.exists():
        raise ValueError(f"{out} exists; remove it or export to another folder")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; use one of {DTYPES}")
    with np.errstate(over="ignore"):  # an overflow is found below
        stored = jax.tree.map(lambda x: np.asarray(x, jnp.dtype(dtype)), weights)
    if not all(
        np.isfinite(x.astype(np.float32)).all() for x in jax.tree.leaves(stored)
    ):
        raise ValueError(
            f"the weights are not all finite in {dtype}; use --dtype float32, and if "
            "that fails too the run has diverged"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with ocp.PyTreeCheckpointer() as writer:
            writer.save(scratch / WEIGHTS, stored)
        # Orbax notes there where it wrote, a path that must not leave this machine.
        (scratch / WEIGHTS / "commit_success.txt").write_text("committed\n")
        (scratch / CONFIG).write_text(to_json(config) + "\n")
        (scratch / CARD).write_text(json.dumps(make_card(stored), indent=2) + "\n")
        scratch.chmod(0o755)
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return out


def make_card(weights: dict) -> dict:
    """What names an export: the package's version and a hash of all parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        # As they load, so that whoever has loaded them can check.
        values = np.asarray(leaf, np.float32)
        digest.update(f"{jax.tree_util.keystr(path)} {values.shape}".encode())
        digest.update(values.tobytes())
    return {"version": id2face_jax.__version__, "weights_sha256": digest.hexdigest()}


def load_config(path: str | os.PathLike) -> ml_collections.FrozenConfigDict:
    """The config of an export. Raises ValueError as `load_export` does."""
    path = pathlib.Path(path).absolute()
    if not (path / CONFIG).is_file() or not (path / WEIGHTS).is_dir():
        if is_workdir(path):
            raise ValueError(
                f"{path} is the workdir of a training run, not an export; run "
                f"`id2face export --checkpoint {path} --out DIR` and use DIR"
            )
        raise ValueError(
            f"{path} is not an export: {CONFIG} and {WEIGHTS}/ were expected there. "
            "`id2face export --checkpoint WORKDIR --out DIR` makes one"
        )
    return from_json((path / CONFIG).read_text())


def load_export(
    path: str | os.PathLike | None = None,
) -> tuple[ml_collections.FrozenConfigDict, dict]:
    """Config and float32 weights of an export.

    Args:
      path: folder of `id2face export`; None is the embedded default.

    Returns:
      (config, weights): weights {"model", "autoencoder"} as pytrees of float32 numpy
      arrays; an export of an autoencoder run has "autoencoder" alone.

    Raises:
      ValueError: `path` is a training run, or no export at all.
    """
    path = pathlib.Path(PRETRAINED if path is None else path).absolute()
    return load_config(path), _read_tree(path / WEIGHTS, lambda tree: tree)


def load_weights(
    path: str | os.PathLike | None, step: int | None = None
) -> tuple[ml_collections.FrozenConfigDict, dict]:
    """`load_export`, or the EMA weights of a training run's checkpoint `step`.

    Raises ValueError if a step is asked of an export, which holds but one.
    """
    if path is not None and is_workdir(path):
        return load_run(path, step)[:2]
    if step is not None:
        raise ValueError(f"step is {step} and {path} is no training run; leave it out")
    return load_export(path)
