"""The controls: what an anonymizer is measured against."""

import numpy as np

from id2face_jax.evaluation.methods import baselines
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.people import Batch, People

CONTROLS = {
    "identity": "control: the untouched photo",
    "blur": "control: face box blurred",
    "pixelate": "control: face box in coarse cells",
    "black": "control: face box in black",
    "swap": "control: another person's face pasted in",
}


def _donors(people: People, batch: Batch) -> np.ndarray:
    """Rows of faces of other people, drawn by the identity latents."""
    rows, donors = np.arange(len(people)), []
    for row, latent in zip(batch.rows, batch.latents(2), strict=True):
        others = rows[people.persons != people.persons[row]]
        rng = np.random.default_rng(latent.view(np.uint32))
        donors.append(others[rng.integers(len(others))])
    return np.array(donors)


def make_control(name: str, people: People) -> Method:
    """The Method of one entry of CONTROLS."""
    key = [name, baselines.BLUR_SIGMA, baselines.PIXELATE_CELLS]
    meaning = CONTROLS[name]
    if name == "swap":

        def swap(batch):
            donors = people.images(_donors(people, batch))
            return baselines.swap(batch.images, donors, batch.masks)

        def requested(batch):
            return people.embeddings[_donors(people, batch)]

        return Method(
            name, meaning, swap, key, draws_identity=True, requested=requested
        )
    if name == "identity":
        return Method(name, meaning, lambda batch: batch.images.copy(), key)
    change = {
        "black": baselines.black,
        "blur": baselines.blur,
        "pixelate": baselines.pixelate,
    }[name]

    def run(batch):
        return change(batch.images, people.face_box)

    return Method(name, meaning, run, key, boxed=True)
