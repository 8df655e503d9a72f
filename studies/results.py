"""Draws what the weights do, for docs/results.md: identities, gates, leak, portraits.

.venv/bin/python -m studies.results [--recognizer mobilefacenet-ms1m.onnx]

Needs the records of `id2face prepare` for numbers of real people; the pictures show
the demonstration's portrait alone. Minutes on two cores. Writes identities.png,
gates.png, leak.png, portraits.jpg and results.json to docs/results.
"""

import argparse
import json
import pathlib

import jax
import matplotlib

matplotlib.use("agg")
import cv2
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from id2face_jax import demo
from id2face_jax.anonymize.identity import keys
from id2face_jax.anonymize.pipeline.generator import use_compilation_cache
from id2face_jax.data import records
from id2face_jax.evaluation import people, setup
from id2face_jax.evaluation.methods import generator as generators
from id2face_jax.evaluation.metrics import attacks, clean, gates
from id2face_jax.faces import align, detect, embed, mask
from id2face_jax.models import build
from id2face_jax.training import grids

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "results"


NUM_IDENTITIES = 1000  # sampled, real and random ones
COLUMNS = 8  # identities of the grid
TIMES = np.linspace(0.9, 0.1, 9)
BINS = np.linspace(-0.5, 0.7, 121)
JPEG_QUALITY = 88
READ = {
    "image": "the unmasked photo",
    "attributes": "the attribute latent",
    "surroundings": "what surrounds the face",
}


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def pairwise(x: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of different rows."""
    return (x @ x.T)[np.triu_indices(len(x), 1)]


def real_identities(path: str, split: str, num: int) -> np.ndarray:
    """Embeddings of one photo each of at most `num` people of a split."""
    source = records.open_records(path, split)
    _, first = np.unique(source.person_ids, return_index=True)
    chosen = np.random.default_rng(0).permutation(first)[:num]
    return np.stack([source[int(index)]["embedding"] for index in chosen])


def draw_identities(config, weights, path: str) -> dict:
    """identities.png: pairwise cosines; returns distances and nearest train people."""
    model = build.make_model(config)
    shape = (NUM_IDENTITIES, config.model.identity_dim)
    latents = jax.random.normal(jax.random.key(0), shape)
    decode = jax.jit(
        lambda params, u: model.apply({"params": params}, u, method="decode_identity")
    )
    sampled = np.asarray(decode(weights["model"], latents))
    real = real_identities(path, "train", NUM_IDENTITIES)
    unseen = real_identities(path, "validation", NUM_IDENTITIES)
    random = unit(np.random.default_rng(0).normal(size=sampled.shape))
    cosines = {
        "real people (train)": pairwise(real),
        "sampled identities": pairwise(sampled),
        "random directions": pairwise(random),
    }
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="tight")
    for label, values in cosines.items():
        axes.hist(values, BINS, density=True, histtype="step", label=label)
    axes.set(xlabel="cosine of two identities", ylabel="density")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(OUT / "identities.png", dpi=110)
    people_cosines = cosines["real people (train)"]
    return {
        "num": {"sampled": len(sampled), "train": len(real), "unseen": len(unseen)},
        "cosine_std": {label: float(np.std(v)) for label, v in cosines.items()},
        "wasserstein_to_real": {
            label: float(stats.wasserstein_distance(v, people_cosines))
            for label, v in cosines.items()
        },
        # Copies of train people would be nearer to them than unseen people are.
        "nearest_train_cosine": {
            label: np.quantile((x @ real.T).max(axis=1), (0.5, 0.99)).tolist()
            for label, x in (("sampled", sampled), ("unseen people", unseen))
        },
    }


def portraits(size: int) -> tuple[dict, np.ndarray]:
    """The demonstration's portrait in four versions, by name, and its embeddings.

    Returns {name: (crop, landmarks)} and (4, d).
    """
    photos = demo.pictures()
    photos = {
        "portrait": photos["portrait"],
        "mirrored": np.ascontiguousarray(photos["portrait"][:, ::-1]),
        "turned": photos["turned20"],
        "small": photos["small"],
    }
    detector, crops, points = detect.CenterFaceDetector(), {}, []
    for name, photo in photos.items():
        face = detector(photo, 0.5)[0]
        matrix = align.crop_matrix(face.landmarks, size)
        landmarks = align.transform_points(matrix, face.landmarks).astype(np.float32)
        crops[name] = (align.crop(photo, matrix, size), landmarks)
        points.append(face.landmarks)
    recognizer = embed.make_recognizer("dlib")
    return crops, recognizer(list(photos.values()), np.stack(points))


def make_batch(crops: dict, embeddings: np.ndarray, columns: int) -> people.Batch:
    """Every portrait with every one of `columns` identities, row by row."""
    num, size = len(crops), next(iter(crops.values()))[0].shape[0]
    images, landmarks = (
        np.repeat(np.stack(x), columns, axis=0)
        for x in zip(*crops.values(), strict=True)
    )
    return people.Batch(
        images,
        landmarks,
        np.stack([mask.face_mask(x, size) for x in landmarks]).astype(np.float32),
        np.repeat(embeddings, columns, axis=0),
        np.arange(num * columns),
        tuple(keys.face_digest(image) for image in images),
        # An identity a column, whatever the photo: as for photos of one person.
        tuple(f"identity {i % columns}" for i in range(num * columns)),
        people.Draw(key=b"the results page's example key.."),
        0,
    )


def draw_portraits(generator: generators.Generator, crops: dict, embeddings) -> None:
    """portraits.jpg: a row a portrait, a column an identity."""
    batch = make_batch(crops, embeddings, COLUMNS)
    made = generators.make_generator_method("id2face", generator).run(batch)
    made = made.reshape(len(crops), COLUMNS, *made.shape[1:])
    sources = np.stack([image for image, _ in crops.values()])
    cells = np.concatenate([sources[:, None], made], axis=1)
    labels = ["source", *(f"identity {i + 1}" for i in range(COLUMNS))]
    grid = cv2.cvtColor(grids.make_grid(cells, labels), cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    cv2.imwrite(str(OUT / "portraits.jpg"), grid, quality)


def draw_gates(generator: generators.Generator, crops: dict, embeddings) -> dict:
    """gates.png: mean gate of each block over t, and maps; returns the means."""
    batch = make_batch(crops, embeddings, 1)
    blocks = gates.block_gates(generator, batch, TIMES)
    inside = batch.masks / batch.masks.sum()
    means = {k: np.sum(x * inside, axis=(1, 2, 3)) for k, x in blocks.items()}
    figure, panels = plt.subplots(
        1, 5, figsize=(12, 2.9), layout="constrained", width_ratios=(2.2, 1, 1, 1, 1)
    )
    for name, values in means.items():
        panels[0].plot(TIMES, values, label=name)
    panels[0].set(xlabel="t (sampling starts at 1)", ylabel="mean gate in the mask")
    panels[0].set_ylim(0, 1)
    panels[0].invert_xaxis()
    panels[0].legend(frameon=False, fontsize=7, ncols=3, loc="upper center")
    panels[1].imshow(batch.images[0])
    panels[1].set_title("photo", fontsize=9)
    maps = np.mean(list(blocks.values()), axis=0)[:, 0]
    shown = [int(np.argmin(np.abs(TIMES - t))) for t in gates.TIMES]
    low, high = maps[shown].min(), maps[shown].max()
    for axes, index in zip(panels[2:], shown, strict=True):
        drawn = axes.imshow(maps[index], cmap="magma", vmin=low, vmax=high)
        axes.set_title(f"gate at t = {TIMES[index]:.1f}", fontsize=9)
    for axes in panels[1:]:
        axes.set_axis_off()
    figure.colorbar(drawn, ax=panels[2:], shrink=0.8)
    figure.savefig(OUT / "gates.png", dpi=100)
    return {
        "t": TIMES.tolist(),
        "mean": {name: values.tolist() for name, values in means.items()},
    }


def draw_leak(
    generator: generators.Generator, path: str, recognizers: list[str]
) -> dict:
    """leak.png: what a linear probe reads; returns `attack`'s figures and numbers."""
    faces = people.open_people(pathlib.Path(path), "validation", None, 0)
    context = setup.make_context(
        faces,
        ROOT / "runs/results/cache",
        recognizers=recognizers,
        pose=(),
        expression=None,
        second_detector=None,
    )
    sources, _ = clean.open_clean(context)
    leaks = attacks.attribute_leak(context, generator, sources)
    figure, panels = plt.subplots(
        1,
        len(leaks),
        figsize=(4.2 * len(leaks), 2.8),
        layout="tight",
        squeeze=False,
    )
    for axes, (name, leak) in zip(panels[0], leaks.items(), strict=True):
        for place, what in enumerate(READ):
            low, high = leak[what]["intervals"]["cosine"]
            axes.barh(place, leak[what]["cosine"], color=f"C{place}")
            axes.plot([low, high], [place, place], color="black")
        axes.axvline(0.0, color="black", linestyle=":")
        axes.set_yticks(range(len(READ)), READ.values())
        axes.invert_yaxis()
        axes.set_xlabel("what it reads: cosine, over other people's")
        axes.set_title(f"by {name}", fontsize=10)
    figure.savefig(OUT / "leak.png", dpi=110)
    return {"num_photos": len(faces), "num_people": len(faces.names), "leaks": leaks}


def main() -> None:
    """Draws everything; no option is needed for the shipped weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", default=str(ROOT / "runs/records/lfw"))
    parser.add_argument("--checkpoint", help="export; default: the embedded one")
    parser.add_argument("--recognizer", action="append", default=[], metavar="ONNX")
    arguments = parser.parse_args()
    use_compilation_cache()
    generator = setup.open_generator(arguments.checkpoint, None, 90.0, 8)
    config, weights = generator.config, generator.weights
    crops, embeddings = portraits(config.data.image_size)
    draw_portraits(generator, crops, embeddings)
    result = {
        "model": generator.sha256,
        "identities": draw_identities(config, weights, arguments.records),
        "gates": draw_gates(generator, crops, embeddings),
        "leak": draw_leak(generator, arguments.records, arguments.recognizer),
    }
    (OUT / "results.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
