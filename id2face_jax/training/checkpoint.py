"""Checkpoints of a run: all that an exact resume needs.

Owns workdir/checkpoints/<step>: the state, the position in the data and the config
(Orbax, its v0 API). A step is there whole or not at all. Leaves when to save to
`train`, and weights without the rest to `generation.exports`.
"""

import contextlib
import errno
import json
import os
import pathlib
import time

import jax
import ml_collections
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as managers

from id2face_jax.generation import exports
from id2face_jax.settings.saved import RUN_FIELDS, check_same_fields
from id2face_jax.training.state import Position, TrainState

DAMAGED = "damaged"


class Checkpointer:
    """Saves and restores the trio (state, data iterator, config) of a run.

    Saving is asynchronous: `save` returns once the arrays are off the device.
    """

    def __init__(self, workdir: str | os.PathLike, save_every: int, keep: int):
        """Opens workdir/checkpoints. save_every: steps; keep: newest ones kept."""
        options = ocp.CheckpointManagerOptions(
            save_decision_policy=managers.AnySavePolicy(
                [
                    managers.FixedIntervalPolicy(save_every),
                    managers.PreemptionCheckpointingPolicy(),
                ]
            ),
            preservation_policy=managers.LatestN(n=keep),
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(
            exports.steps_folder(workdir), options=options
        )

    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step; None in a new workdir."""
        return self._manager.latest_step()

    def preempted(self, step: int) -> bool:
        """Whether SIGTERM came and all processes agreed to stop at `step`.

        Collective: every process calls it at every step. Works only under
        jax.distributed; without it a SIGTERM ends the process.
        """
        return self._manager.reached_preemption(step)

    def is_due(self, step: int) -> bool:
        """Whether `step` is to be saved: its turn, or a preemption. Collective."""
        return self._manager.should_save(step)

    def save(
        self,
        step: int,
        state: TrainState,
        iterator: Position,
        config: ml_collections.ConfigDict,
    ) -> None:
        """Saves; does nothing if `step` is there already.

        Args:
          step: updates done, state.step.
          state: of all processes.
          iterator: has given `step` batches; its position is the same on every host.
          config: as resolved.
        """
        if step == self.latest_step():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(iterator.get_state()),
            config=ocp.args.JsonSave(json.loads(exports.to_json(config))),
        )
        self._manager.save(step, args=items, force=True)

    def restore(
        self,
        abstract_state: TrainState,
        iterator: Position,
        config: ml_collections.ConfigDict,
    ) -> TrainState:
        """The newest state, laid out as `abstract_state`; moves `iterator` in place.

        Args:
          abstract_state: ShapeDtypeStructs with shardings; any mesh will do.
          iterator: continues after the last batch that the saved state had seen, for
            any number of hosts.
          config: of this run; its networks and data must be those of the checkpoint.

        Raises:
          ValueError: the configs differ in saved.RUN_FIELDS, or the checkpoint is
            damaged (see `set_damaged_aside`).
        """
        step = self.latest_step()
        where = f"{self._manager.directory}/{step}"
        saved = self._read(step, config=ocp.args.JsonRestore())
        saved = exports.from_json(json.dumps(saved.config))
        check_same_fields(saved, config, RUN_FIELDS, where)
        restored = self._read_state(step, abstract_state)
        iterator.set_state(restored.data)
        return restored.state

    def _read_state(self, step: int, abstract_state: TrainState):
        state, data = ocp.args.StandardRestore(abstract_state), ocp.args.JsonRestore()
        return self._read(step, state=state, data=data)

    def _read(self, step: int, **items):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        # Orbax and its storage raise many kinds for a file that is cut or gone.
        except Exception as error:
            raise ValueError(
                f"{self._manager.directory}/{step} cannot be read, it is damaged: "
                f"{type(error).__name__}: {str(error):.200}. The same command with "
                "--fall-back sets it aside and goes on from the one before"
            ) from error

    def set_damaged_aside(self, abstract_state: TrainState) -> None:
        """Moves damaged newest checkpoints to workdir/damaged, so that one is whole.

        abstract_state: as for `restore`. Raises ValueError, and moves nothing, if no
        checkpoint can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for index, step in enumerate(steps):
            try:
                self._read(step, config=ocp.args.JsonRestore())
                self._read_state(step, abstract_state)
            except ValueError as error:
                if step == steps[-1]:
                    raise ValueError(f"no checkpoint is whole; {error}") from error
            else:
                return self._move_aside(steps[:index])

    def _move_aside(self, steps: list[int]) -> None:
        folder = pathlib.Path(self._manager.directory)
        if jax.process_index() == 0:
            for step in steps:
                target = folder.parent / DAMAGED / f"{step}-{time.time_ns()}"
                target.parent.mkdir(exist_ok=True)
                (folder / str(step)).rename(target)
        # No process may look before process 0 has moved them.
        multihost_utils.sync_global_devices("damaged checkpoints are set aside")
        self._manager.reload()

    def close(self) -> None:
        """Waits for pending saves and lets go of the folder; an empty one goes."""
        try:
            self._manager.wait_until_finished()
        finally:
            self._manager.close()
            if jax.process_index() == 0:
                with contextlib.suppress(OSError):  # it holds checkpoints
                    pathlib.Path(self._manager.directory).rmdir()


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that the disk is full.

    Orbax and its storage raise many kinds, some with the reason in the text alone.
    """
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
