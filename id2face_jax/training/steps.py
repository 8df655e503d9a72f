"""The training tasks as pure functions: (state, batch) -> (state, metrics).

Owns what one step computes for the autoencoder, for ID2Face, and for finishing. No mesh
words, no files: arrays are global, so a mean is a mean over all devices. All randomness
of a step comes from (config.seed, state.step) and is drawn for the whole batch at once,
before it is cut into micro-batches: sharding changes no number but by rounding, and
accumulation none but terms that are no mean over rows (free bits, the verifier's choice
among the rows).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import optax

from id2face_jax.generation import generate
from id2face_jax.models import build
from id2face_jax.settings import together
from id2face_jax.training import finishing, objectives, optim
from id2face_jax.training.state import TrainState

TASKS = ("autoencoder", "id2face", "finishing")
_GRID_LABELS = ("source", "reconstruction", "anonymous 1", "anonymous 2", "anonymous 3")


@dataclasses.dataclass(frozen=True)
class Task:
    """What `train.py` needs to know of a task.

    Attributes:
      init: key -> TrainState at step 0.
      train_step: (state, batch) -> (state, metrics), metrics float32 scalars.
      eval_step: (state, batch, index) -> metrics of the EMA weights, the state as it
        is; `index` () int32 picks the noise, which is the same at every call.
      sample_grid: (state, batch) -> uint8 (n, k, s, s, 3), a row a photo, from the
        EMA weights and the first photos of the batch.
      grid_labels: k column titles.
    """

    init: Callable
    train_step: Callable
    eval_step: Callable
    sample_grid: Callable
    grid_labels: tuple[str, ...]


def make_task(config: ml_collections.ConfigDict, frozen: dict | None = None) -> Task:
    """The task that config.task names.

    Args:
      config: see configs/base.py.
      frozen: for "id2face", the parameters that it uses and never trains:
        "autoencoder", which may lack only where config.autoencoder.weights is
        "random", "recognizer" where `needs_recognizer`, and "second" where
        config.loss names a second one; for "finishing", "model"
        and "autoencoder", random without either.
    Raises ValueError for an unknown task or missing parameters.
    """
    frozen = frozen or {}
    if config.task == "autoencoder":
        return _autoencoder_task(config)
    if config.task == "finishing":
        return _finishing_task(config, frozen)
    if config.task == "id2face":
        if "autoencoder" not in frozen and config.autoencoder.weights != "random":
            raise ValueError(
                f"autoencoder.weights is {config.autoencoder.weights!r} and gave no "
                "parameters; train configs/autoencoder128.py, export it and pass "
                "--config.autoencoder.weights=EXPORT"
            )
        if config.loss.second_recognizer and "second" not in frozen:
            raise ValueError(
                f"loss.second_recognizer is {config.loss.second_recognizer!r} and gave "
                "no parameters; pass them or set it to ''"
            )
        if needs_recognizer(config) and "recognizer" not in frozen:
            raise ValueError(
                f"loss.asked_identity is {config.loss.asked_identity} and "
                f"loss.source_identity is {config.loss.source_identity}, which need "
                "the recognizer's parameters; pass them or set both to 0"
            )
        return _id2face_task(config, frozen)
    raise ValueError(f"task is {config.task!r}; expected one of {TASKS}")


def needs_recognizer(config: ml_collections.ConfigDict) -> bool:
    """Whether the objective looks at deployed rows with the frozen recognizer."""
    loss = config.loss
    wanted = loss.asked_identity or loss.source_identity
    return bool(loss.deployed_every and wanted)


def _initial_state(config, params, frozen) -> TrainState:
    # The EMA is a copy in its own buffers: the step donates the state, and one buffer
    # in two fields crashes the process.
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optim.make_optimizer(config).init(params),
        frozen=frozen,
    )


def start_from(state: TrainState, params: dict) -> TrainState:
    """`state` with `params` and their copy as EMA: a warm start from an export.

    An adversary is no part of what an export does: one that is missing starts afresh,
    and one that the config does not want is left. Raises ValueError if the trees differ
    in anything else.
    """
    adversaries = set(optim.ADVERSARIES)
    fresh = {k: v for k, v in state.params.items() if k in adversaries}
    known = {
        k: v for k, v in params.items() if k in state.params or k not in adversaries
    }
    params = fresh | known
    old, new = (jax.tree.map(jnp.shape, tree) for tree in (state.params, params))
    if old != new:
        raise ValueError(
            "train.init_from holds other parameters than config.task needs; export a "
            "run of the same task and networks"
        )
    params = jax.tree.map(jnp.asarray, params)
    return state.replace(params=params, ema=jax.tree.map(jnp.copy, params))


def _split(tree, parts: int, group: int):
    """(b, ...) leaves to (parts, b/parts, ...), strided so that shards stay local.

    group: rows that stay together, so that each part has its share of every kind.
    """

    def cut(x):
        if x.shape[0] % (parts * group):
            raise ValueError(
                f"batch of {x.shape[0]} does not divide into optim.accumulate={parts} "
                f"micro-batches of whole groups of {group}; change one of them"
            )
        groups = x.reshape(-1, parts, group, *x.shape[1:])
        return jnp.moveaxis(groups, 1, 0).reshape(parts, -1, *x.shape[1:])

    return jax.tree.map(cut, tree)


def _gradients(loss_fn, params, examples, parts: int, group: int):
    """Mean loss gradient and metrics over `parts` micro-batches, one at a time."""
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
    if parts == 1:
        (_, metrics), grads = value_and_grad(params, examples)
        return grads, metrics

    def micro(total, part):
        (_, metrics), grads = value_and_grad(params, part)
        return jax.tree.map(jnp.add, total, (grads, metrics)), None

    split = _split(examples, parts, group)
    first = jax.tree.map(lambda x: x[0], split)
    shapes = jax.eval_shape(value_and_grad, params, first)
    zeros = jax.tree.map(
        lambda s: jnp.zeros(s.shape, s.dtype), (shapes[1], shapes[0][1])
    )
    total, _ = jax.lax.scan(micro, zeros, split)
    return jax.tree.map(lambda x: x / parts, total)


def _make_train_step(config, objective) -> Callable:
    """A step from an objective with `draw(key, batch)` and `loss(params, ...)`."""
    tx = optim.make_optimizer(config)
    group = together.pairs_together(config.loss)

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        examples = (batch, objective.draw(key, batch))

        def loss_fn(params, part):
            return objective.loss(params, state.frozen, *part)

        grads, metrics = _gradients(
            loss_fn, state.params, examples, config.optim.accumulate, group
        )
        shares = optim.multipliers(state.params, config)
        # What is frozen takes no part in clipping, and costs no gradient.
        grads = jax.tree.map(lambda g, x: g if x else jnp.zeros_like(g), grads, shares)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda u, x: u if x == 1 else x * u, updates, shares)
        params = optax.apply_updates(state.params, updates)
        decay = optim.ema_decay(state.step, config)
        ema = jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), state.ema, params)
        metrics |= {
            "grad_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
            "param_norm": optax.tree.norm(params),
            "lr": jnp.asarray(optim.make_schedule(config)(state.step), jnp.float32),
        }
        state = state.replace(
            step=state.step + 1, params=params, ema=ema, opt_state=opt_state
        )
        return state, metrics

    return train_step


def _make_eval_step(config, objective) -> Callable:
    """The objective of the EMA weights, with noise that depends on `index` alone."""

    def eval_step(state: TrainState, batch: dict, index: jax.Array) -> dict:
        # One seed further, so that no training step draws the same.
        key = jax.random.fold_in(jax.random.key(config.seed + 1), index)
        draws = objective.draw(key, batch)
        _, metrics = objective.loss(state.ema, state.frozen, batch, draws)
        return metrics

    return eval_step


def _assembled(config, objective, init, sample_grid, grid_labels) -> Task:
    train_step = _make_train_step(config, objective)
    eval_step = _make_eval_step(config, objective)
    return Task(init, train_step, eval_step, sample_grid, grid_labels)


def _example_images(config) -> jax.Array:
    size = config.data.image_size
    return jnp.zeros((1, size, size, 3), jnp.float32)


def _autoencoder_task(config) -> Task:
    autoencoder = build.make_autoencoder(config)
    objective = objectives.AutoencoderObjective(config)

    def init(key):
        params = autoencoder.init(key, _example_images(config))["params"]
        return _initial_state(config, params, {})

    def sample_grid(state, batch):
        images = batch["image_a"][:8]
        z = autoencoder.apply(
            {"params": state.ema}, generate.to_float(images), method="encode"
        )
        noise = jax.random.normal(jax.random.key(config.seed), z.shape)
        columns = [images]
        for share in (0.0, 0.5, 1.0):
            noisy = z + share * config.autoencoder.latent_noise * noise
            rebuilt = autoencoder.apply({"params": state.ema}, noisy, method="decode")
            columns.append(generate.to_uint8(rebuilt))
        return jnp.stack(columns, axis=1)

    return _assembled(
        config,
        objective,
        init,
        sample_grid,
        ("source", "autoencoder", "half noise", "most noise"),
    )


def _id2face_task(config, frozen) -> Task:
    model = build.make_model(config)
    autoencoder = build.make_autoencoder(config)
    objective = objectives.make_recomposition(config)

    def init(key):
        key, ae_key = jax.random.split(key)
        used = dict(frozen)
        if "autoencoder" not in used:
            used["autoencoder"] = autoencoder.init(ae_key, _example_images(config))[
                "params"
            ]
        params = _init_model(config, model, used["autoencoder"], key)
        return _initial_state(config, params, jax.tree.map(jnp.asarray, used))

    def sample_grid(state, batch):
        weights = {"model": state.ema, "autoencoder": state.frozen["autoencoder"]}
        return _faces_grid(config, weights, batch)

    return _assembled(config, objective, init, sample_grid, _GRID_LABELS)


def _init_model(config, model, autoencoder_params: dict, key: jax.Array) -> dict:
    def encode():
        return build.make_autoencoder(config).apply(
            {"params": autoencoder_params}, _example_images(config), method="encode"
        )

    z = jax.eval_shape(encode)
    z = jnp.zeros(z.shape, z.dtype)
    f = jnp.zeros((1, config.model.embedding_dim), jnp.float32)
    return model.init(key, z, z, z[..., :1], jnp.ones((1,)), f)["params"]


def _finishing_task(config, frozen) -> Task:
    objective = finishing.make_finishing(config)
    autoencoder = objective.autoencoder

    def init(key):
        x = _example_images(config)
        params = autoencoder.init(key, x)["params"]
        side = config.data.image_size // autoencoder.factor
        seen = objective.critic_input(x, jnp.ones((1, side, side, 1)))
        used = dict(frozen)
        if not used:
            used["model"] = _init_model(config, objective.model, params, key)
            used["autoencoder"] = jax.tree.map(jnp.copy, params)
        params["critic"] = objective.critic.init(key, seen)["params"]
        return _initial_state(config, params, jax.tree.map(jnp.asarray, used))

    def sample_grid(state, batch):
        weights = {"model": state.frozen["model"], "autoencoder": state.ema}
        return _faces_grid(config, weights, batch)

    return _assembled(config, objective, init, sample_grid, _GRID_LABELS)


def _faces_grid(config, weights: dict, batch: dict) -> jax.Array:
    """Source, own identity back, three random orthogonal identities: 8 rows."""
    faces = generate.Faces(
        images=batch["image_a"][:8],
        masks=batch["mask_a"][:8].astype(jnp.float32) / 255.0,
        embeddings=batch["embedding_a"][:8],
    )
    seeds = jnp.arange(faces.images.shape[0], dtype=jnp.uint32)

    def column(mode, seeds):
        num_steps = config.model.sample_steps
        return generate.generate(
            config, weights, faces, seeds, mode=mode, num_steps=num_steps
        )

    # A loop: one sampler to compile for all three.
    firsts = 1000 * jnp.arange(1, 4, dtype=jnp.uint32)
    anonymous = jax.lax.map(lambda first: column("embedding", seeds + first), firsts)
    columns = [faces.images, column("own", seeds), *anonymous]
    return jnp.stack(columns, axis=1)
