"""Training, as one linear story: set up, restore or initialise, compile, loop.

Owns the order of things. What a step computes is in `steps`, where arrays live in
`sharding`, what is kept in `checkpoint`, what is written in `metrics` and `grids`.
A run is resumed by the same command; state.step is its only counter.
"""

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
import tqdm

from id2face_jax.data import batches, pairs
from id2face_jax.generation import exports
from id2face_jax.settings import saved, together
from id2face_jax.training import (
    checkpoint,
    grids,
    heldout,
    metrics,
    objectives,
    programs,
    runtime,
    sharding,
    steps,
)
from id2face_jax.training.progress import going_on, say
from id2face_jax.training.state import TrainState


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike, fall_back=False
) -> TrainState:
    """Trains config.task up to config.train.num_steps, or until SIGTERM.

    Args:
      config: see configs/base.py.
      workdir: folder of the run: checkpoints/, samples/, tensorboard/, metrics.jsonl,
        config.json, starts.jsonl. One that holds a checkpoint is continued.
      fall_back: damaged newest checkpoints are set aside, and an older one used.

    Returns:
      The last state, on the devices; the last checkpoint holds it too.

    Raises:
      ValueError: a config, file or workdir that does not fit, before compiling; a
        damaged checkpoint; or a loss that is not finite, with its step.
    """
    timer = metrics.Timer()
    config = ml_collections.FrozenConfigDict(config)
    together.check(config)
    workdir = pathlib.Path(workdir).absolute()
    mesh = sharding.make_mesh(config)
    sharding.check_batch(config, mesh)
    rank, source = jax.process_index(), batches.open_train(config)
    rows = sharding.batch_sharding(mesh)
    ours = sharding.local_rows(rows, config.data.batch_size)
    iterator = batches.make_iterator(config, source, ours, rows)
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        frozen, start = _load_exports(config, source)
        layout = programs.make_layout(config, mesh, frozen, start)
        # From here on the workdir is touched.
        open_things = stack.enter_context(_closing(workdir))
        saver = checkpoint.Checkpointer(
            workdir, config.train.save_every, config.train.keep
        )
        open_things.append(saver)
        if fall_back:
            saver.set_damaged_aside(layout.state)
        if saver.latest_step() is None:
            state = layout.init(jax.random.key(config.seed), frozen, start)
        else:
            state = saver.restore(layout.state, iterator, config)
        del frozen, start  # the state has its own copy
        step = int(state.step)
        # Tells jax where the steps begin: else it agrees on a step near 0 for a SIGTERM
        # that comes while the programs compile, and a resumed run never stops.
        saver.preempted(step)
        say(f"{workdir}: from step {step} to {config.train.num_steps}")
        watched = heldout.load_heldout(config, mesh)
        if watched.split != pairs.HELDOUT:
            say(f"no {pairs.HELDOUT} split: grids show faces of {watched.split}")
        compiled = _compile(config, layout, batches.first_batch(config, 1, source))
        if rank == 0:
            metrics.record_start(workdir, exports.to_json(config), step)
        goodput = metrics.Goodput(workdir, step)
        writer = metrics.Writer(workdir, step, active=rank == 0)
        profile = metrics.ProfileWindow(
            workdir / "tensorboard", config.train.profile_at, config.train.profile_steps
        )
        open_things += [writer, profile]
        clocks = _Clocks(timer, goodput, profile)
        run = _Run(config, workdir, layout, compiled, watched, saver, writer, clocks)
        with _bar(config, step) as bar:
            return _loop(run, state, iterator, bar)


@contextlib.contextmanager
def _closing(workdir: pathlib.Path) -> Iterator[list]:
    """A list of what to close in the end, last first.

    An error of the body is the one that is told, whatever closing brings after it; a
    full disk, which comes in many shapes, is told as what it is.
    """
    open_things = []
    try:
        try:
            yield open_things
        except BaseException:
            for thing in reversed(open_things):
                with contextlib.suppress(Exception):
                    thing.close()
            raise
        for thing in reversed(open_things):
            thing.close()
    except Exception as error:
        if not checkpoint.is_disk_full(error):
            raise
        step = exports.newest_step(workdir)
        raise OSError(
            f"the disk of {workdir} is full; make room and run the same command, which "
            f"goes on from step {step or 0}"
        ) from error


def _load_exports(config, source) -> tuple[dict, dict | None]:
    """(frozen parameters by name, parameters to start from or None)."""
    frozen, path = {}, config.autoencoder.weights
    if config.task == "id2face" and path not in ("", "random"):
        found, trees = exports.load_export(path)
        saved.check_same_fields(found, config, saved.AUTOENCODER_FIELDS, path)
        frozen["autoencoder"] = trees["autoencoder"]
    if config.task == "id2face" and steps.needs_recognizer(config):
        frozen["recognizer"] = batches.load_recognizer(config)
    if config.task == "id2face" and config.loss.second_recognizer:
        _, trees = exports.load_export(config.loss.second_recognizer)
        second = objectives.make_second_recognizer(config)
        frozen["second"] = batches.center(second, trees["recognizer"], source)
    path = config.train.init_from
    if not path:
        return frozen, None
    found, trees = exports.load_export(path)
    for change in saved.check_start(found, config, path):
        say(f"train.allow_changed: of {path}, {change}")
    if config.task == "finishing":
        return trees, trees["autoencoder"]
    return frozen, trees["autoencoder" if config.task == "autoencoder" else "model"]


def _compile(config, layout, example) -> programs.Programs:
    began = time.perf_counter()
    with going_on("compiling the step, the held-out loss and the grid"):
        compiled = programs.compile_programs(config, layout, example)
    seconds = time.perf_counter() - began
    num = sum(x.size for x in jax.tree.leaves(layout.state.params))
    memory = compiled.step.memory_analysis()
    size = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    say(
        f"{num / 1e6:.2f} M trainable parameters, mesh {dict(layout.mesh.shape)}, "
        f"compiled in {seconds:.1f} s; a step takes {size / 2**20:.0f} MiB a device"
    )
    return compiled


@dataclasses.dataclass(frozen=True)
class _Clocks:
    """What watches where the time goes; see `metrics`."""

    timer: metrics.Timer
    goodput: metrics.Goodput
    profile: metrics.ProfileWindow


@dataclasses.dataclass(frozen=True)
class _Run:
    """What the loop works with, made once."""

    config: ml_collections.FrozenConfigDict
    workdir: pathlib.Path
    layout: programs.Layout
    programs: programs.Programs
    heldout: heldout.Heldout
    saver: checkpoint.Checkpointer
    writer: metrics.Writer
    clocks: _Clocks


def _bar(config, step: int) -> tqdm.tqdm:
    return tqdm.tqdm(
        desc=config.task,
        total=config.train.num_steps,
        initial=step,
        unit="step",
        smoothing=0.05,
        # A log file wants a line now and then, not ten a second.
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        disable=jax.process_index() != 0,
    )


def _loop(run: _Run, state: TrainState, iterator, bar: tqdm.tqdm) -> TrainState:
    """From state.step to the end. The order inside is a law, see the comments."""
    config, train = run.config, run.config.train
    step = first_step = int(state.step)
    rows = sharding.batch_sharding(run.layout.mesh)
    timer, recent = run.clocks.timer, []
    budget = train.max_minutes
    seconds, _ = timer.report()  # until here: set-up
    run.clocks.goodput.add(seconds)
    while True:
        # Save before drawing the next batch, so that the saved weights and the saved
        # position in the data agree. Log before that: a broken state is never saved.
        is_over = bool(budget) and runtime.minutes() >= budget
        # One step at least, however long compiling took: a run leaves weights.
        last = step >= train.num_steps or (is_over and step > first_step)
        if step > first_step and (run.saver.is_due(step) or last):
            _log(run, step, recent, bar)
            with timer("save"):
                run.saver.save(step, state, iterator, config)
        # Collective: every process asks at every step.
        preempted = run.saver.preempted(step)
        if preempted or last:
            break
        run.clocks.profile.at(step, state)
        with timer("data"):
            batch = sharding.put_batch(next(iterator), rows)
        # No transfer in a step: a stray Python number would stall every one. The batch
        # stays outside, since jax takes it for a stray one on several processes.
        with timer("step"), jax.transfer_guard("disallow"):
            state, values = run.programs.step(state, batch)
            recent.append(values)
            # At most two steps ahead of the devices: batches do not pile up there and
            # the bar tells the truth. Nothing is fetched.
            if len(recent) > 2:
                jax.block_until_ready(recent[-3])
        step += 1
        bar.update()
        if step % train.log_every == 0 or step % train.sample_every == 0:
            _log(run, step, recent, bar)
        if step % train.sample_every == 0:
            with timer("eval"):
                _evaluate(run, step, state)
    bar.close()
    seconds, _ = timer.report()  # the last save
    run.clocks.goodput.add(seconds)
    if step > first_step and not preempted:
        share, hours = 100 * run.clocks.goodput.share, run.clocks.goodput.hours
        say(f"goodput {share:.0f} %: that share of {hours:.2f} hours went into steps")
    if is_over and last:
        say(f"train.max_minutes={train.max_minutes:g} are over: saved step {step}")
    if preempted and not last:
        did = f"saved step {step}" if step > first_step else f"no step after {step}"
        say(f"stopped: {did}; the same command goes on from there")
    return state


def _log(run: _Run, step: int, recent: list, bar) -> None:
    """Writes the means of the steps since the last log, and empties `recent`.

    Raises ValueError, with the step, if a loss among them is not finite.
    """
    if not recent:
        return
    with run.clocks.timer("step"):
        rows = jax.device_get(recent)
    num_steps = len(rows)
    recent.clear()
    for index, row in enumerate(rows):
        if not np.isfinite(row["loss"]):
            raise ValueError(
                f"loss is {row['loss']} at step {step - num_steps + index + 1}; lower "
                "optim.lr or optim.clip_norm and run the same command, which continues "
                "from the last checkpoint"
            )
    means = metrics.means(rows)
    seconds, shares = run.clocks.timer.report()
    total = run.clocks.goodput.add(seconds, seconds * shares.get("step", 0.0))
    # A pair is two photos.
    images = 2 * run.config.data.batch_size * num_steps / seconds
    speed = {"steps_per_s": num_steps / seconds, "images_per_s": images}
    shares = {f"time/{name}": share for name, share in shares.items()}
    run.writer.scalars(step, means | speed | shares | total)
    bar.set_postfix_str(f"loss {means['loss']:.4f}, {images:.1f} images/s")


def _evaluate(run: _Run, step: int, state: TrainState) -> None:
    """Writes held-out loss and sample grid of the EMA weights."""
    means, cells = heldout.evaluate(run.programs, run.heldout, state)
    if means:
        run.writer.scalars(step, {f"validation/{k}": v for k, v in means.items()})
    if jax.process_index() == 0:
        grid = grids.make_grid(cells, run.layout.task.grid_labels)
        grids.save_png(run.workdir / "samples" / f"{step:07d}.png", grid)
        run.writer.image(step, "samples", grid)
