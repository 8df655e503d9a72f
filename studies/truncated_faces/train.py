"""Trains the detector of cut faces, and writes id2face_jax/faces/truncated.onnx.

.venv/bin/python -m studies.truncated_faces.train PEOPLE
    [--work runs/truncated_faces] [--go-on]

PEOPLE is a folder PERSON/PHOTO.jpg, of people that nothing is tested on. Where faces
are, and how large, is what CenterFace says of the whole photo; then a window cuts the
photo so that a part of the face is left, which CenterFace itself often misses. So
there is no label but what the shipped detector gives. Photos of every seventh person
are held out, and table.md says what is found of their faces.

--go-on: from the shipped network, which grows if it is narrower or shallower than
WIDTHS and DEPTH; and what both it and CenterFace see at a photo's own border is a face,
too.

The shipped weights: with WIDTHS (16, 32, 64) and DEPTH 4, 4,000 steps before pictures
of things were among the photos, 1,200 with them (--go-on --seed 1 --steps 1200), both
while the filling beside a leaning border had the photo's noise, and 3,600 with it even
(--go-on --seed 2 --steps 3600): 50, 15 and 50 busy minutes. Then grown, 3,500 with the
photos' own borders (--go-on --seed 3 --steps 3500): 67 minutes on two cores. The script
and windows.py repeat that last part alone, from the cut.onnx of commit 0c5c4c6.
"""

import argparse
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
import tqdm
from onnx import helper, numpy_helper

from id2face_jax.faces.truncated import TruncatedFaceDetector
from studies.truncated_faces import windows

ROOT = pathlib.Path(__file__).resolve().parents[2]


OUT = ROOT / "id2face_jax" / "faces" / "truncated.onnx"
BATCH, STEPS, RATE = 64, 4000, 2e-3
WIDTHS, DEPTH = (24, 48, 96), 6  # three halvings; then residual convolutions


class CutNet(nn.Module):
    """Photos (n, h, w, 3) in [-1, 1] -> (n, h / 8, w / 8, 5): logit, log distances.

    Distances are from the cell's center to the box's left, top, right and bottom, in
    cells. (Ours; the head is that of FCOS, Tian et al. 2019, arXiv 1904.01355.)
    """

    @nn.compact
    def __call__(self, x):
        for i, width in enumerate(WIDTHS):
            x = nn.relu(nn.Conv(width, (3, 3), (2, 2), padding=1, name=f"down{i}")(x))
        for i in range(DEPTH):
            y = nn.relu(nn.Conv(WIDTHS[-1], (3, 3), padding=1, name=f"in{i}")(x))
            x = nn.relu(x + nn.Conv(WIDTHS[-1], (3, 3), padding=1, name=f"out{i}")(y))
        return nn.Conv(5, (1, 1), name="head")(x)


def loss_of(params, batch):
    """Focal cross-entropy of the cells, and how far the boxes are off."""
    out = CutNet().apply(params, batch["image"].astype(jnp.float32) / 127.5 - 1)
    logit, is_face = out[..., 0], batch["label"]
    prob = jax.nn.sigmoid(logit)
    wrong = jnp.where(is_face == 1, 1 - prob, prob)
    cross = optax.sigmoid_binary_cross_entropy(
        logit, (is_face == 1).astype(jnp.float32)
    )
    cells = jnp.where(is_face < 0, 0.0, 0.5 * wrong**2 * cross)
    faces = (is_face == 1).astype(jnp.float32)
    num = jnp.maximum(faces.sum(), 1.0)
    off = jnp.abs(out[..., 1:] - batch["box"]).sum(axis=-1)
    return cells.sum() / num + 0.2 * (faces * off).sum() / num


def train(photos: windows.Photos, steps: int, params=None, seed: int = 0):
    """The exponential moving average of the weights, from `params` or from nothing."""
    if params is None:
        example = jnp.zeros((1, windows.SIZE, windows.SIZE, 3))
        params = CutNet().init(jax.random.key(seed), example)
    rate = optax.cosine_onecycle_schedule(steps, RATE, pct_start=0.1)
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0), optax.adamw(rate, weight_decay=1e-3)
    )
    state = (params, optimizer.init(params), params)

    @jax.jit
    def step(state, batch):
        params, moments, average = state
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, moments = optimizer.update(grads, moments, params)
        params = optax.apply_updates(params, updates)
        average = optax.incremental_update(params, average, 0.005)
        return (params, moments, average), loss

    mean = None
    bar = tqdm.tqdm(range(steps), mininterval=10)
    for i, batch in zip(bar, windows.batches(photos, BATCH, seed), strict=False):
        state, loss = step(state, batch)
        if i % 20 == 0:
            mean = float(loss) if mean is None else 0.9 * mean + 0.1 * float(loss)
            bar.set_postfix(loss=f"{mean:.3f}")
    return state[2]


def grown(small, seed: int = 0):
    """A network of WIDTHS and DEPTH that computes what the smaller one `small` does.

    What is new begins at random inside, and adds nothing to what was (ours; after Chen
    et al. 2016, arXiv 1511.05641).
    """
    example = jnp.zeros((1, windows.SIZE, windows.SIZE, 3))
    large = CutNet().init(jax.random.key(seed), example)["params"]
    for name, layer in large.items():
        if name not in small["params"]:
            if name.startswith("out"):
                layer["kernel"] = jnp.zeros_like(layer["kernel"])
            continue
        old = small["params"][name]
        given, made = old["kernel"].shape[2:]
        kernel = layer["kernel"].at[..., given:, :made].set(0.0)
        layer["kernel"] = kernel.at[..., :given, :made].set(old["kernel"])
        layer["bias"] = layer["bias"].at[:made].set(old["bias"])
    return {"params": large}


def write(params, path: pathlib.Path) -> None:
    """The network as ONNX, for photos of any size; weights are float16."""
    tree = jax.tree.map(np.asarray, params["params"])
    nodes, weights = [], []

    def conv(name, x, stride=1, size=3):
        for part, order in (("kernel", (3, 2, 0, 1)), ("bias", (0,))):
            half = tree[name][part].transpose(order).astype(np.float16)
            weights.append(numpy_helper.from_array(half, f"{name}.{part}.half"))
            nodes.append(
                helper.make_node(
                    "Cast",
                    [f"{name}.{part}.half"],
                    [f"{name}.{part}"],
                    to=onnx.TensorProto.FLOAT,
                )
            )
        given = [x, f"{name}.kernel", f"{name}.bias"]
        nodes.append(
            helper.make_node(
                "Conv",
                given,
                [name],
                strides=[stride] * 2,
                pads=[size // 2] * 4,
                kernel_shape=[size] * 2,
            )
        )
        return name

    def relu(x):
        nodes.append(helper.make_node("Relu", [x], [f"{x}.relu"]))
        return f"{x}.relu"

    x = "image"
    for i in range(len(WIDTHS)):
        x = relu(conv(f"down{i}", x, stride=2))
    for i in range(DEPTH):
        y = conv(f"out{i}", relu(conv(f"in{i}", x)))
        nodes.append(helper.make_node("Add", [x, y], [f"sum{i}"]))
        x = relu(f"sum{i}")
    conv("head", x, size=1)
    graph = helper.make_graph(
        nodes,
        "cut",
        [helper.make_tensor_value_info("image", 1, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("head", 1, ["n", 5, "rows", "columns"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def read(path: pathlib.Path):
    """The weights of a network that `write` wrote."""
    tree = {}
    for tensor in onnx.load(path).graph.initializer:
        name, part, _ = tensor.name.split(".")
        array = numpy_helper.to_array(tensor).astype(np.float32)
        order = (2, 3, 1, 0) if array.ndim == 4 else (0,)
        tree.setdefault(name, {})[part] = jnp.asarray(array.transpose(order))
    return {"params": tree}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("people", type=pathlib.Path, metavar="PEOPLE")
    parser.add_argument("--work", type=pathlib.Path, default="runs/truncated_faces")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--go-on", action="store_true", help="from the network of truncated.onnx"
    )
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    photos = windows.find(args.people, args.work).training
    start = None
    if args.go_on:
        photos = windows.seen_twice(photos, TruncatedFaceDetector())
        start = grown(read(OUT))
    write(train(photos, args.steps, start, args.seed), OUT)


if __name__ == "__main__":
    main()
