"""The compiled programs of a run: a task laid out on a mesh, ahead of time.

Owns the way from a task's pure functions and the sharding rules to programs: shapes
first, then shardings, then compiling; no array is made on the way. Leaves running
them to `train`.
"""

import dataclasses
from collections.abc import Callable

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from id2face_jax.training import sharding, steps
from id2face_jax.training.state import TrainState

# Hundreds of random draws, run once: on CPU, LLVM's optimizations cost 15 s there.
_INIT_OPTIONS = {"cpu": {"xla_backend_optimization_level": 0}}
GRID_ROWS = 8  # faces of a sample grid; steps.Task shows no more


@dataclasses.dataclass(frozen=True)
class Layout:
    """A task on a mesh, nothing compiled yet.

    Attributes:
      task: see steps.Task.
      init: jitted (key, frozen, start) -> TrainState, made where it belongs.
      state: TrainState of ShapeDtypeStructs with shardings.
      mesh: of `sharding.make_mesh`.
    """

    task: steps.Task
    init: Callable
    state: TrainState
    mesh: Mesh


def make_layout(
    config: ml_collections.ConfigDict,
    mesh: Mesh,
    frozen: dict | None = None,
    start: dict | None = None,
) -> Layout:
    """The layout of config.task; frozen and start as for `steps` (arrays or shapes).

    Raises ValueError for rules that do not fit the state, see `sharding`.
    """

    # The trees are arguments, so that they do not become constants of the program.
    def init(key, frozen, start):
        state = steps.make_task(config, frozen).init(key)
        return state if start is None else steps.start_from(state, start)

    shapes = jax.eval_shape(init, jax.random.key(config.seed), frozen, start)
    shardings = sharding.tree_shardings(shapes, mesh, config.sharding_rules)
    state = jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
        shapes,
        shardings,
    )
    options = _INIT_OPTIONS.get(mesh.devices.flat[0].platform)
    init = jax.jit(init, out_shardings=shardings, compiler_options=options)
    return Layout(steps.make_task(config, frozen), init, state, mesh)


@dataclasses.dataclass(frozen=True)
class Programs:
    """What the loop runs, compiled; see steps.Task. `step` donates its state."""

    step: Callable
    evaluate: Callable
    grid: Callable


def jit_step(layout: Layout) -> Callable:
    """The train step for the layout's mesh, jitted."""
    shardings = jax.tree.map(lambda x: x.sharding, layout.state)
    return jax.jit(
        sharding.split_rows(layout.task.train_step, layout.mesh),
        donate_argnums=0,
        out_shardings=(shardings, sharding.replicated(layout.mesh)),
    )


def batch_shapes(
    example: dict[str, np.ndarray], num: int, where: jax.sharding.Sharding
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of `num` rows like the example's, laid out as `where` says."""
    return {
        name: jax.ShapeDtypeStruct((num, *x.shape[1:]), x.dtype, sharding=where)
        for name, x in example.items()
    }


def lower_step(
    config: ml_collections.ConfigDict, layout: Layout, example: dict[str, np.ndarray]
) -> jax.stages.Lowered:
    """The train step, traced. example: one or more rows of a batch, for shapes."""
    rows = sharding.batch_sharding(layout.mesh)
    batch = batch_shapes(example, config.data.batch_size, rows)
    return jit_step(layout).lower(layout.state, batch)


def lower_grid(layout: Layout, example: dict[str, np.ndarray]) -> jax.stages.Lowered:
    """The sampler that draws grids, traced. Args as of `lower_step`."""
    whole = sharding.replicated(layout.mesh)
    grid = jax.jit(layout.task.sample_grid, out_shardings=whole)
    return grid.lower(layout.state, batch_shapes(example, GRID_ROWS, whole))


def compile_programs(
    config: ml_collections.ConfigDict, layout: Layout, example: dict[str, np.ndarray]
) -> Programs:
    """Compiles the three programs. example: as of `lower_step`."""
    whole = sharding.replicated(layout.mesh)
    rows = sharding.batch_sharding(layout.mesh)
    batch = batch_shapes(example, config.data.batch_size, rows)
    index = jax.ShapeDtypeStruct((), np.int32, sharding=whole)
    evaluate = sharding.split_rows(layout.task.eval_step, layout.mesh)
    evaluate = jax.jit(evaluate, out_shardings=whole).lower(layout.state, batch, index)
    return Programs(
        step=lower_step(config, layout, example).compile(),
        evaluate=evaluate.compile(),
        grid=lower_grid(layout, example).compile(),
    )
