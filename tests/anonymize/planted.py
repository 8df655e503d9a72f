"""Stand-ins whose answers a test knows: generators that fail on purpose, a recognizer.

The recognizer sees small gray crops: the same face gives a cosine of 1, noise about 0.
"""

import numpy as np

from id2face_jax.anonymize.pipeline import generator
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.faces import align
from id2face_jax.faces.detect import Detection

SIZE, IDENTITY_DIM, EMBEDDING_DIM = 64, 8, 16


class PlantedRecognizer:
    """Unit embeddings: a fixed projection of the crop's centered gray pixels."""

    name, dim, threshold = "planted", EMBEDDING_DIM, 0.6

    def __init__(self, always: float | None = None):
        """always: if given, all embeddings are one vector of this value, normalized."""
        self._projection = np.random.default_rng(0).normal(size=(256, self.dim))
        self._always = always

    def __call__(self, images, landmarks):
        vectors = []
        for image, points in zip(images, landmarks, strict=True):
            crop = align.crop(image, align.crop_matrix(points, 32), 32)[8:24, 8:24]
            gray = crop.mean(axis=-1).reshape(-1)
            vector = (gray - gray.mean()) @ self._projection
            if self._always is not None:
                vector = np.full(self.dim, self._always)
            vectors.append(vector / (np.linalg.norm(vector) + 1e-9))
        return np.float32(vectors)


class PlantedGenerator:
    """A generator made of one function: crop and its request's row to a new crop."""

    size, embedding_dim, identity_dim = SIZE, EMBEDDING_DIM, IDENTITY_DIM
    num_steps, fingerprint, geometry = 1, "planted", align.WIDE

    def __init__(self, function):
        self._function = function
        self.requests = []

    def __call__(self, requests):
        self.requests.append(requests)
        return np.stack([self._function(requests, row) for row in range(len(requests))])


def composite(requests, row, new):
    """`new` inside of the mask, the source's pixels outside, as generators do."""
    mask = requests.masks[row][..., None]
    return np.uint8(np.round(mask * new + (1 - mask) * requests.crops[row]))


def pass_through(requests, row):
    """The source itself: nothing is hidden."""
    return requests.crops[row]


def noise(requests, row):
    """No face at all."""
    rng = np.random.default_rng(requests.seeds[row])
    return composite(requests, row, rng.integers(0, 256, (SIZE, SIZE, 3)))


def black(requests, row):
    return composite(requests, row, np.zeros((SIZE, SIZE, 3)))


def other_face(requests, row):
    """The source upside down in its brightness: still a face, but not the same.

    The seed shifts the brightness, so that attempts differ.
    """
    shift = int(requests.seeds[row]) % 16
    negative = 255 - np.float64(requests.crops[row])
    return composite(requests, row, np.clip(negative + shift, 0, 255))


def gray(requests, row):
    """A flat patch."""
    return composite(requests, row, np.full((SIZE, SIZE, 3), 128.0))


def picture(seed: int = 0) -> np.ndarray:
    """A picture of a drawn face that `PlantedDetector` finds: (200, 220, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (25, 28, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:200, :220]


class PlantedDetector:
    """Finds one face in whatever is as large as `picture`, and in upright views.

    Others have no face. It costs nothing, where a test is not about finding.
    """

    def __init__(self):
        points = align.template(128) + np.float32([40, 30])
        box = np.concatenate([points.min(0) - 25, points.max(0) + 25])
        self._face = Detection(np.float32(box), 0.9, points)
        view = align.template(128) + 64  # the middle half of an upright view
        box = np.concatenate([view.min(0) - 25, view.max(0) + 25])
        self._view = Detection(np.float32(box), 0.9, view)

    def __call__(self, image, threshold):
        if image.shape == (200, 220, 3):
            return [self._face]
        return [self._view] if image.shape == (256, 256, 3) else []


def plant(monkeypatch) -> list[dict]:
    """Planted models wherever a program loads trained ones.

    A --checkpoint is the name of one of the functions here. Returns the list to which
    each loading adds what it was asked for.
    """
    calls = []

    def from_pretrained(path=None, **options):
        calls.append({"path": path, **options})
        return Anonymizer(
            PlantedGenerator(globals()[path or "other_face"]),
            [PlantedRecognizer()],
            PlantedDetector(),
            options["settings"],
        )

    monkeypatch.setattr(Anonymizer, "from_pretrained", from_pretrained)
    monkeypatch.setattr(generator, "use_compilation_cache", lambda: None)
    return calls
