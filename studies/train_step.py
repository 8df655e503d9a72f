"""Where the train step's time goes: .venv/bin/python -m studies.train_step

The embedded model's step of 64 examples, whole and without its dearest parts, and the
loss alone without its gradient, in turns; writes docs/performance/train_step.md.
"""

import argparse
import pathlib

import jax
import ml_collections

from id2face_jax.anonymize.pipeline import generator
from id2face_jax.benchmark import timing, training
from id2face_jax.benchmark.sampler import Model
from id2face_jax.evaluation.report.tables import grid
from id2face_jax.generation import exports
from id2face_jax.plan import flops
from id2face_jax.training.steps import make_task

OUT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "performance"
# What is run, without the identity loss, without the critic, without the gradient.
PARTS = (
    ("the whole step", False, False, False),
    ("without the identity loss", True, False, False),
    ("without the critic", False, True, False),
    ("without both", True, True, False),
    ("without both, the loss alone", True, True, True),
)


def make_part(model: Model, pairs: int, no_identity_loss, no_critic, no_gradient):
    """(task, GFLOP) of a part."""
    config = training.make_config(
        model, pairs, None, identity_loss=not no_identity_loss
    )
    config = ml_collections.ConfigDict(config.to_dict())
    if no_critic:
        config.loss.critic_dim = 0
    run = training.make_run(ml_collections.FrozenConfigDict(config), model)
    if not no_gradient:
        return run, run.flops / 1e9
    task = make_task(config, run.state.frozen)
    index = jax.numpy.zeros((), jax.numpy.int32)
    evaluate = jax.jit(task.eval_step)
    shapes = jax.tree.map(jax.typeof, (run.state, run.batch, index))
    num = flops.of_function(task.eval_step, *shapes)
    return (
        lambda: jax.block_until_ready(evaluate(run.state, run.batch, index)),
        num / 1e9,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    generator.use_compilation_cache()
    model = Model(*exports.load_weights(None))
    parts = {name: make_part(model, args.pairs, *without) for name, *without in PARTS}
    tasks = {name: task for name, (task, _) in parts.items()}
    seconds = timing.in_turns(tasks, args.repeats)
    lines = []
    for name, (_, gflop) in parts.items():
        time = timing.summary(seconds[name])
        median = f"{time['median']:.2f} s ({time['low']:.2f} to {time['high']:.2f})"
        rate = gflop / time["median"]
        lines.append([name, median, f"{gflop:.0f}", f"{rate:.0f}"])
    text = grid(["part", "seconds", "GFLOP", "GFLOP/s"], lines)
    head = (
        f"# Where the train step's time goes\n\n{2 * args.pairs} examples, medians of "
        f"{args.repeats} in turns, {jax.default_backend()}. Made by `train_step.py`."
        "\n\n"
    )
    (OUT / "train_step.md").write_text(head + text + "\n")
    print(head + text)


if __name__ == "__main__":
    main()
