"""What the identity moves and what the attributes move, each changed alone.

Owns two interventions on the generator: another identity is asked for on the same
photo, and the same identity on another person's photo; the start noise stays. Who
appears should follow the identity; landmarks, mouth, light and pose the photo. Beside
them stand two untouched photos, of which everything differs.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from id2face_jax.evaluation.context import BUILT_IN, Context, Outputs
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics import figures, intervals, privacy, utility
from id2face_jax.evaluation.people import Draw, People

MAX_FACES = 60  # of as many people; each is generated three times
IDENTITY, ATTRIBUTES, PHOTOS = "identity", "attributes", "photos"


def chosen_rows(people: People) -> Int[np.ndarray, " m"]:
    """The first photo of at most MAX_FACES people, spread over them."""
    rows = np.unique(people.persons, return_index=True)[1]
    num = min(MAX_FACES, len(rows))
    return rows[np.linspace(0, len(rows) - 1, num).astype(int)]


def with_attributes_of(
    method: Method, people: People, owners: dict[int, int]
) -> Method:
    """The method on other photos: identity and noise are those of the owners' rows.

    Args:
      method: of the generator.
      people: whose faces they are.
      owners: row of a photo -> row whose identity is asked for on it.
    """

    def run(batch):
        rows = np.array([owners[int(row)] for row in batch.rows])
        asked = people.batch(rows, batch.draw)
        # Identity and noise follow from the source's embedding and the crop's digest.
        return method.run(
            dataclasses.replace(
                batch,
                embeddings=asked.embeddings,
                digests=asked.digests,
                names=asked.names,
            )
        )

    key = [method.depends_on, sorted(owners.items())]
    return Method(f"{method.name}-on-other-photos", "", run, key)


def measure(context: Context, method: Method, sources: Outputs) -> dict[str, dict]:
    """model.interventions: figures of IDENTITY, ATTRIBUTES and PHOTOS.

    Args:
      context: people and networks.
      method: of the generator, one that draws an identity.
      sources: the untouched photos.
    """
    people = context.people
    rows = chosen_rows(people)
    partners = np.roll(rows, -1)
    owners = dict(zip(partners.tolist(), rows.tolist(), strict=True))
    moved = with_attributes_of(method, people, owners)
    made = context.outputs(method, rows, name="interventions")
    changed = {
        IDENTITY: context.outputs(method, rows, Draw(1), name="other-identity"),
        ATTRIBUTES: context.outputs(moved, partners),
        PHOTOS: context.outputs(sources.method, partners, name="interventions"),
    }
    untouched = context.outputs(sources.method, rows, name="interventions")
    first = {IDENTITY: made, ATTRIBUTES: made, PHOTOS: untouched}
    found = {
        name: _difference(context, first[name], other, sources)
        for name, other in changed.items()
    }
    before, after = (context.requested(x) for x in (made, changed[IDENTITY]))
    persons = people.persons[rows]
    for name, field, identity in (
        (IDENTITY, "asked_cosine", after),
        (IDENTITY, "former_cosine", before),
        (ATTRIBUTES, "asked_cosine", before),
    ):
        cosine = privacy.own_cosine(
            context.embeddings(changed[name], BUILT_IN), identity
        )
        figure = intervals.mean_over_people(cosine, persons, people.seed)
        found[name].put(field, figure)
    return {name: out.fields for name, out in found.items()}


def _light(context: Context, outputs: Outputs) -> Float[np.ndarray, " m"]:
    def look(rows, crops, chunk):
        del chunk
        return utility.light(crops, context.people.landmarks[rows])

    return context.measure(outputs, "light", "light", look).column("brightness")


def _difference(
    context: Context, first: Outputs, second: Outputs, sources: Outputs
) -> figures.Figures:
    """How unlike two pictures of each face are; intervals over the first's people."""
    people, out = context.people, figures.Figures()
    persons = people.persons[first.rows]

    def put(name, values, why="no output has a detectable face"):
        out.put(name, intervals.mean_over_people(values, persons, people.seed), why)

    for name in context.recognizers:
        pair = (context.embeddings(x, name) for x in (first, second))
        put(f"cosine_{name}", privacy.own_cosine(*pair))
    faces = [context.faces(x) for x in (first, second)]
    both = np.logical_and(*(stage.column("found") for stage in faces))
    points = [stage.column("landmarks") for stage in faces]
    put("landmarks_pct", utility.landmark_error(*points, both))
    put("mouth_pct", utility.landmark_error(*points, both, mouth_alone=True))
    put("light", np.abs(np.subtract(*(_light(context, x) for x in (first, second)))))
    if context.pose is None:
        out.skip("pose_deg", "no --pose given")
    else:
        poses = [context.poses(x, sources) for x in (first, second)]
        put("pose_deg", utility.pose_error(*poses, both))
    return out
