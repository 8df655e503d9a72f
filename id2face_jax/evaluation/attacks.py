"""Attackers who know the method: parrot, anonymized gallery, keys, attribute leak.

A recogniser made for untouched faces overstates privacy; these attackers adapt. Each
figure stands beside its chance level, and where one makes sense beside its ceiling.

- parrot: a linear classifier is trained on anonymized photos of known people and names
  the person in other anonymized photos of them;
- anonymized gallery: the attacker anonymizes the gallery too, then compares;
- keys: outputs of one person under one key are alike by design; under another key
  they must not be, which is also what guessing a key gives;
- attribute leak: a linear probe predicts the source's embedding from the attribute
  latent, which should hold everything but the identity.
"""

import hashlib

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn import linear_model, model_selection, pipeline, preprocessing

from id2face_jax import generate
from id2face_jax.evaluation import figures, intervals, privacy, utility
from id2face_jax.evaluation.bench import Bench, Outputs
from id2face_jax.evaluation.methods import Generator, Method
from id2face_jax.evaluation.people import Draw

MIN_PARROT_PHOTOS, MAX_PARROT_PHOTOS = 4, 20  # a person; the cap stops celebrities
_FOLDS = 4
MAX_KEYED_PEOPLE = 60  # two photos each, under each key
NUM_WRONG_KEYS = 3


def _put_share(out, name, values, persons, seed, why):
    figure = intervals.mean_over_people(values, persons, seed, is_share=True)
    out.put(name, figure, why)


def parrot_rows(persons: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Photos of people with at least MIN_PARROT_PHOTOS, at most MAX of each."""
    rows = []
    for person in np.unique(persons):
        own = np.flatnonzero(persons == person)
        if len(own) >= MIN_PARROT_PHOTOS:
            rows.extend(own[:MAX_PARROT_PHOTOS])
    return np.array(rows, int)


def parrot(
    embeddings: Float[np.ndarray, "n d"], persons: Int[np.ndarray, " n"], seed: int
) -> dict:
    """A linear classifier trained and tested on the same method's outputs, in folds."""
    out = figures.Figures()
    rows = parrot_rows(persons)
    _, labels, counts = np.unique(
        persons[rows], return_inverse=True, return_counts=True
    )
    if len(counts) < 2:
        out.skip("accuracy", f"fewer than two people have {MIN_PARROT_PHOTOS} photos")
        return out.fields
    probe = pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear_model.RidgeClassifier()
    )
    folds = model_selection.StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    named = model_selection.cross_val_predict(
        probe, embeddings[rows].astype(np.float64), labels, cv=folds
    )
    _put_share(out, "accuracy", named == labels, persons[rows], seed, "")
    # Always naming the person with the most photos.
    out.fields["chance"] = float(counts.max() / counts.sum())
    return out.fields


def anonymized_gallery(
    embeddings: Float[np.ndarray, "n d"], persons: Int[np.ndarray, " n"], seed: int
) -> dict:
    """Outputs against a gallery of outputs, thresholds from outputs of strangers."""
    out = figures.Figures()
    limits = privacy.calibrate(embeddings, persons).thresholds
    result = privacy.compare(embeddings, embeddings, persons, limits)
    for far, accepted in result.accepted.items():
        name = f"tar_far_{figures.far_name(far)}"
        _put_share(out, name, accepted, persons, seed, "too few pairs")
        out.fields[f"{name}_chance"] = far
    rank1 = np.where(np.isnan(result.rank), np.nan, result.rank == 1)
    _put_share(out, "rank1", rank1, persons, seed, "no person has a second photo")
    if out.fields["rank1"] is not None:
        out.fields["rank1_chance"] = float(np.nanmean(result.chance_rank1))
    return out.fields


def _keyed_pairs(persons) -> tuple[np.ndarray, np.ndarray]:
    """First and second photo of at most MAX_KEYED_PEOPLE people."""
    pairs = []
    for person in np.unique(persons):
        own = np.flatnonzero(persons == person)
        if len(own) >= 2:
            pairs.append(own[:2])
    pairs = np.array(pairs[:MAX_KEYED_PEOPLE], int).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def keyed(bench: Bench, method: Method, recognizer: str) -> dict:
    """Linking outputs of one person: under one key, and across keys.

    Published: everyone's first photo under the owner's key. The attacker's: everyone's
    second photo, under the same key (linkage, or a leaked key) and under
    NUM_WRONG_KEYS others (an outsider's, or guesses).
    """
    out = figures.Figures()
    seed = bench.people.seed
    first, second = _keyed_pairs(bench.people.persons)
    if len(first) < 2:
        out.skip("same_key_tar_far_1e-2", "fewer than two people have two photos")
        return out.fields
    persons = np.arange(len(first))

    def embed(rows, number):
        key = hashlib.sha256(f"evaluation key {seed}/{number}".encode()).digest()
        made = bench.outputs(method, rows, Draw(key=key), name=f"key{number}")
        return bench.embeddings(made, recognizer)

    published = embed(first, 0)
    limits = privacy.calibrate(published, persons).thresholds
    tried = [embed(second, number) for number in range(1 + NUM_WRONG_KEYS)]
    for name, guesses in (("same_key", tried[:1]), ("other_key", tried[1:])):
        cosines = [privacy.own_cosine(guess, published) for guess in guesses]
        out.put(
            f"{name}_cosine",
            intervals.mean_over_people(np.mean(cosines, axis=0), persons, seed),
        )
        nearest = [
            np.argmax(guess @ published.T, axis=1) == persons for guess in guesses
        ]
        _put_share(out, f"{name}_rank1", np.mean(nearest, axis=0), persons, seed, "")
        for far, limit in limits.items():
            accepted = np.full(len(persons), np.nan)
            if limit is not None:
                accepted = np.mean([c > limit for c in cosines], axis=0)
            label = f"{name}_tar_far_{figures.far_name(far)}"
            _put_share(out, label, accepted, persons, seed, "too few impostor pairs")
    out.fields["rank1_chance"] = 1 / len(persons)
    out.fields["num_wrong_keys"] = NUM_WRONG_KEYS
    return out.fields


def attribute_latents(bench: Bench, generator: Generator) -> Float[np.ndarray, "n k"]:
    """The attribute latent (its mean, flattened) of every untouched photo."""
    config = generator.config
    model = generate.make_model(config)
    autoencoder = generate.make_autoencoder(config)

    @jax.jit
    def encode(weights, images):
        z = autoencoder.apply(
            {"params": weights["autoencoder"]},
            generate.to_float(images),
            method="encode",
        )
        mu, _ = model.apply({"params": weights["model"]}, z, method="encode_attributes")
        return mu.reshape(mu.shape[0], -1)

    parts, num = [], len(bench.people)
    for first in range(0, num, generator.batch_size):
        rows = np.arange(first, min(first + generator.batch_size, num))
        images = bench.people.images(np.resize(rows, generator.batch_size))
        parts.append(np.asarray(encode(generator.weights, images))[: len(rows)])
    return np.concatenate(parts)


def leak(
    features: Float[np.ndarray, "n k"],
    embeddings: Float[np.ndarray, "n d"],
    persons: Int[np.ndarray, " n"],
    seed: int,
) -> dict:
    """How well a linear probe on `features` finds the source's embedding.

    Trained and tested on different people. top1: the prediction is nearest to its own
    face's embedding among utility.CROWD; cosine: to it, beside the cosine that the
    same predictions have to other people's faces.
    """
    out = figures.Figures()
    folds = model_selection.GroupKFold(min(_FOLDS, len(np.unique(persons))))
    probe = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        linear_model.RidgeCV(np.logspace(0, 6, 13)),
    )
    predicted = model_selection.cross_val_predict(
        probe,
        features.astype(np.float64),
        embeddings.astype(np.float64),
        groups=persons,
        cv=folds,
    )
    predicted /= np.maximum(np.linalg.norm(predicted, axis=1, keepdims=True), 1e-9)
    hits = utility.identity_control(embeddings, predicted, persons, seed)
    _put_share(out, "top1", hits, persons, seed, "")
    cosine = privacy.own_cosine(predicted, embeddings)
    out.put("cosine", intervals.mean_over_people(cosine, persons, seed))
    strangers = (predicted @ embeddings.T)[persons[:, None] != persons[None, :]]
    out.fields["cosine_chance"] = float(np.mean(strangers))
    out.fields["top1_chance"] = 1 / min(utility.CROWD, len(np.unique(persons)))
    return out.fields


def surroundings(bench: Bench) -> Float[np.ndarray, "n k"]:
    """12 x 12 pixels of each photo with the face left out: the leak's baseline."""
    import cv2

    parts = []
    for first in range(0, len(bench.people), 64):
        batch = bench.people.batch(np.arange(first, min(first + 64, len(bench.people))))
        keep = batch.images * (1.0 - batch.masks[..., None])
        small = [
            cv2.resize(image.astype(np.float32), (12, 12), interpolation=cv2.INTER_AREA)
            for image in keep
        ]
        parts.append(np.stack(small).reshape(len(small), -1))
    return np.concatenate(parts)


def attribute_leak(bench: Bench, generator: Generator, sources: Outputs) -> dict:
    """The leak by each recogniser: from the attributes, and from the surroundings."""
    people = bench.people
    latents, around = attribute_latents(bench, generator), surroundings(bench)
    return {
        name: {
            "attributes": leak(latents, embeddings, people.persons, people.seed),
            "surroundings": leak(around, embeddings, people.persons, people.seed),
        }
        for name in bench.recognizers
        for embeddings in [bench.embeddings(sources, name)]
    }


def attack(bench: Bench, outputs: Outputs, recognizer: str) -> dict:
    """rows[].attacks: what adapted attackers reach against one method."""
    persons, seed = bench.people.persons, bench.people.seed
    embeddings = {name: bench.embeddings(outputs, name) for name in bench.recognizers}
    result = {
        "parrot": {n: parrot(e, persons, seed) for n, e in embeddings.items()},
        "anonymized_gallery": {
            n: anonymized_gallery(e, persons, seed) for n, e in embeddings.items()
        },
    }
    if outputs.method.draws_identity:
        result["keyed"] = {recognizer: keyed(bench, outputs.method, recognizer)}
    return result
