"""Attackers who know the method: parrot, anonymized gallery, keys, attribute leak.

A recognizer made for untouched faces overstates privacy; these attackers adapt. Each
figure stands beside its chance level, and where one makes sense beside its ceiling.

- parrot: a linear classifier is trained on anonymized photos of known people and names
  the person in other anonymized photos of them;
- anonymized gallery: the attacker anonymizes the gallery too, then compares;
- keys: outputs of one person under one key are alike by design; under another key
  they must not be, which is also what guessing a key gives;
- attribute leak: a linear probe predicts the source's embedding from the attribute
  latent, which should hold everything but the identity; beside what it predicts from
  the photo itself, which is the ceiling, and from what surrounds the face.
"""

import hashlib

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn import linear_model, model_selection, pipeline, preprocessing

from id2face_jax.evaluation.context import Context, Outputs
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics import figures, intervals, privacy, utility
from id2face_jax.evaluation.people import Draw
from id2face_jax.generation import generate
from id2face_jax.models import build

MIN_PARROT_PHOTOS, MAX_PARROT_PHOTOS = 4, 20  # a person; the cap stops celebrities
_FOLDS = 4
MAX_KEYED_PEOPLE = 60  # two photos each, under each key
NUM_WRONG_KEYS = 3
MIN_IMAGE_COSINE = 0.01  # below it a share of it says nothing
TOO_FEW_PEOPLE = "too few people for a probe to be tried on people it has not seen"


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
    """Outputs against a gallery of outputs, thresholds from different people's."""
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


def keyed(context: Context, method: Method, recognizer: str) -> dict:
    """Linking outputs of one person: under one key, and across keys.

    Published: everyone's first photo under the owner's key. The attacker's: everyone's
    second photo, under the same key (linkage, or a leaked key) and under
    NUM_WRONG_KEYS others (an outsider's, or guesses).
    """
    out = figures.Figures()
    seed = context.people.seed
    first, second = _keyed_pairs(context.people.persons)
    if len(first) < 2:
        out.skip("same_key_tar_far_1e-2", "fewer than two people have two photos")
        return out.fields
    persons = np.arange(len(first))

    def embed(rows, number):
        key = hashlib.sha256(f"evaluation key {seed}/{number}".encode()).digest()
        made = context.outputs(method, rows, Draw(key=key), name=f"key{number}")
        return context.embeddings(made, recognizer)

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


def photo_latents(
    context: Context, generator: Generator
) -> tuple[Float[np.ndarray, "n j"], Float[np.ndarray, "n k"]]:
    """Every untouched photo's latent, and its attribute latent's mean; flattened."""
    config = generator.config
    model = build.make_model(config)
    autoencoder = build.make_autoencoder(config)

    @jax.jit
    def encode(weights, images):
        z = autoencoder.apply(
            {"params": weights["autoencoder"]},
            generate.to_float(images),
            method="encode",
        )
        mu, _ = model.apply({"params": weights["model"]}, z, method="encode_attributes")
        return z.reshape(z.shape[0], -1), mu.reshape(mu.shape[0], -1)

    parts, num = [], len(context.people)
    for first in range(0, num, generator.batch_size):
        rows = np.arange(first, min(first + generator.batch_size, num))
        images = context.people.images(np.resize(rows, generator.batch_size))
        both = encode(generator.weights, images)
        parts.append([np.asarray(latents)[: len(rows)] for latents in both])
    images, attributes = map(np.concatenate, zip(*parts, strict=True))
    return images, attributes


def read_identity(
    features: Float[np.ndarray, "n k"],
    embeddings: Float[np.ndarray, "n d"],
    persons: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """What a linear probe makes of `features`: the source's embedding, unit length.

    In folds, trained and tested on different people. Also returns each photo's fold.
    """
    folds = model_selection.GroupKFold(min(_FOLDS, len(np.unique(persons))))
    x, y = features.astype(np.float64), embeddings.astype(np.float64)
    predicted, fold = np.zeros_like(y), np.zeros(len(y), int)
    for number, (seen, unseen) in enumerate(folds.split(x, groups=persons)):
        probe = pipeline.make_pipeline(
            preprocessing.StandardScaler(),
            linear_model.RidgeCV(np.logspace(0, 6, 13)),
        )
        predicted[unseen] = probe.fit(x[seen], y[seen]).predict(x[unseen])
        fold[unseen] = number
    length = np.linalg.norm(predicted, axis=1, keepdims=True)
    return predicted / np.maximum(length, 1e-9), fold


def excess_cosine(
    predicted: Float[np.ndarray, "n d"],
    fold: Int[np.ndarray, " n"],
    embeddings: Float[np.ndarray, "n d"],
    persons: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Each prediction's cosine to its own face, less its mean one to others.

    A probe that knows nobody predicts the mean face, which is like everyone a little.
    Others are of the same fold: to people it was trained on, the mean is nearer.
    NaN for photos whose fold has none.
    """
    cosine = predicted @ embeddings.T
    others = persons[:, None] != persons[None, :]
    others &= fold[:, None] == fold[None, :]
    num = others.sum(axis=1)
    baseline = (cosine * others).sum(axis=1) / np.where(num > 0, num, np.nan)
    return np.diagonal(cosine) - baseline


def leak(
    predicted: Float[np.ndarray, "n d"],
    fold: Int[np.ndarray, " n"],
    embeddings: Float[np.ndarray, "n d"],
    persons: Int[np.ndarray, " n"],
    seed: int,
) -> dict:
    """How well what `read_identity` returned finds the source's embedding.

    top1: the prediction is nearest to its own face's embedding among utility.CROWD;
    cosine: see `excess_cosine`.
    """
    out = figures.Figures()
    hits = utility.identity_control(embeddings, predicted, persons, seed)
    _put_share(out, "top1", hits, persons, seed, "")
    cosine = excess_cosine(predicted, fold, embeddings, persons)
    figure = intervals.mean_over_people(cosine, persons, seed)
    out.put("cosine", figure, TOO_FEW_PEOPLE)
    out.fields["top1_chance"] = 1 / min(utility.CROWD, len(np.unique(persons)))
    return out.fields


def share_of_image(
    attributes: Float[np.ndarray, " n"],
    image: Float[np.ndarray, " n"],
    persons: Int[np.ndarray, " n"],
    seed: int,
) -> dict:
    """cosine_share: the mean excess cosine read from the attributes over the image's.

    attributes, image: `excess_cosine` of each photo, read from one and the other.
    """
    out = figures.Figures()
    known = ~np.isnan(image)
    attributes, image, persons = attributes[known], image[known], persons[known]
    if not known.any():
        out.skip("cosine_share", TOO_FEW_PEOPLE)
    elif np.mean(image) <= MIN_IMAGE_COSINE:
        out.skip("cosine_share", "the probe reads no identity from the photo itself")
    else:

        def share(rows):
            return float(np.mean(attributes[rows]) / np.mean(image[rows]))

        out.put("cosine_share", intervals.of_set(share, persons, seed))
    return out.fields


def surroundings(context: Context) -> Float[np.ndarray, "n k"]:
    """12 x 12 pixels of each photo with the face left out: the leak's baseline."""
    import cv2

    parts = []
    for first in range(0, len(context.people), 64):
        batch = context.people.batch(
            np.arange(first, min(first + 64, len(context.people)))
        )
        keep = batch.images * (1.0 - batch.masks[..., None])
        small = [
            cv2.resize(image.astype(np.float32), (12, 12), interpolation=cv2.INTER_AREA)
            for image in keep
        ]
        parts.append(np.stack(small).reshape(len(small), -1))
    return np.concatenate(parts)


def attribute_leak(context: Context, generator: Generator, sources: Outputs) -> dict:
    """The leak by each recognizer: from the photo, the attributes, the surroundings."""
    persons, seed = context.people.persons, context.people.seed
    image, attributes = photo_latents(context, generator)
    seen = {
        "image": image,
        "attributes": attributes,
        "surroundings": surroundings(context),
    }
    result = {}
    for name in context.recognizers:
        known = context.embeddings(sources, name), persons
        read = {what: read_identity(x, *known) for what, x in seen.items()}
        image, attributes = (
            excess_cosine(*read[what], *known) for what in ("image", "attributes")
        )
        result[name] = {
            what: leak(*found, *known, seed) for what, found in read.items()
        }
        result[name] |= share_of_image(attributes, image, persons, seed)
    return result


def attack(context: Context, outputs: Outputs, recognizer: str) -> dict:
    """rows[].attacks: what adapted attackers reach against one method."""
    persons, seed = context.people.persons, context.people.seed
    embeddings = {
        name: context.embeddings(outputs, name) for name in context.recognizers
    }
    result = {
        "parrot": {n: parrot(e, persons, seed) for n, e in embeddings.items()},
        "anonymized_gallery": {
            n: anonymized_gallery(e, persons, seed) for n, e in embeddings.items()
        },
    }
    if outputs.method.draws_identity:
        result["keyed"] = {recognizer: keyed(context, outputs.method, recognizer)}
    return result
