"""Whether new faces are as different from each other as people are.

Owns two Wasserstein distances to the cosines of different people, untouched: between
several new identities for one face, and between the outputs of different people.
"""

import numpy as np
from scipy import stats

from id2face_jax.evaluation.context import Context, Outputs
from id2face_jax.evaluation.metrics import figures, intervals, privacy
from id2face_jax.evaluation.people import Draw

NUM_IDENTITIES = 10  # K
MAX_FACES = 30  # N, of as many people
_CENTRES = (privacy.BINS[:-1] + privacy.BINS[1:]) / 2


def of_one_face(context: Context, outputs: Outputs, recognizer: str) -> np.ndarray:
    """Cosines between NUM_IDENTITIES outputs of one face: (faces, pairs)."""
    persons = context.people.persons
    rows = np.unique(persons, return_index=True)[1]
    rows = rows[np.linspace(0, len(rows) - 1, min(MAX_FACES, len(rows))).astype(int)]
    drawn = np.stack(
        [
            context.embeddings(
                context.outputs(
                    outputs.method, rows, Draw(attempt), name=f"identity{attempt}"
                ),
                recognizer,
            )
            for attempt in range(NUM_IDENTITIES)
        ],
        axis=1,
    )
    cosines = drawn @ drawn.transpose(0, 2, 1)
    first, second = np.triu_indices(NUM_IDENTITIES, 1)
    return cosines[:, first, second]


def distance(cosines: np.ndarray, impostors: np.ndarray) -> float:
    """1-D Wasserstein distance of cosines to a histogram over privacy.BINS."""
    return float(
        stats.wasserstein_distance(np.ravel(cosines), _CENTRES, v_weights=impostors)
    )


def put_figures(
    out: figures.Figures,
    context: Context,
    outputs: Outputs,
    impostors: np.ndarray,
    recognizer: str,
) -> None:
    """Adds diversity_wasserstein and crowd_wasserstein.

    impostors: histogram of the recognizer's cosines of different people, untouched.
    """
    crowd = privacy.calibrate(
        context.embeddings(outputs, recognizer), context.people.persons
    ).impostors
    out.fields["crowd_wasserstein"] = float(
        stats.wasserstein_distance(_CENTRES, _CENTRES, crowd, impostors)
    )
    if not outputs.method.draws_identity:
        out.skip("diversity_wasserstein", "the method draws no identity of its own")
        return
    cosines = of_one_face(context, outputs, recognizer)
    figure = intervals.of_set(
        lambda faces: distance(cosines[faces], impostors),
        np.arange(len(cosines)),
        context.people.seed,
    )
    out.put("diversity_wasserstein", figure)
    out.fields["diversity_cosine_mean"] = float(cosines.mean())
