"""The attackers' figures as tables with one sentence each.

Owns the words about attacks, for `table` and `report` alike.
"""

from id2face_jax.evaluation.report.tables import cell, grid

_PARROT = (
    "Parrot: a classifier learns known people from their anonymized photos and names "
    "the person in new ones; near chance is private. The untouched row shows what the "
    "same classifier reaches without anonymization, and the black row what hair and "
    "background alone give away."
)
_GALLERY = (
    "Anonymized gallery: the attacker anonymizes his own photos of the person too and "
    "compares like with like; TAR 1 % and the rank-1 chance are blind guessing."
)
_KEYED = (
    "Keys: under one key a person's pictures are alike, by design, so that they can be "
    "linked by whoever sees them; under other keys, and with guessed keys, they must "
    "be as unlike as strangers."
)
_LEAK = (
    "Attribute leak: how often a linear probe finds the person's embedding among 100 "
    "from what the network keeps as attributes, against the same probe on the photo "
    "itself and on the picture around the face; and the cosine of what it reads to the "
    "embedding, over that to other people's. The attributes' share of the photo's "
    "should be small."
)

_READ = ("image", "attributes", "surroundings")  # what the probe is given


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _each(result: dict, attack: str):
    for row in result["rows"]:
        for name, fields in ((row["attacks"] or {}).get(attack) or {}).items():
            yield row["method"], name, fields


def sections(result: dict) -> list[tuple[str, str, str]]:
    """(title, sentence, Markdown table) of each attack that was made."""
    if not any(row["attacks"] for row in result["rows"]):
        return []
    parrot = [
        [method, name, cell(fields, "accuracy", 100, 1), _percent(fields.get("chance"))]
        for method, name, fields in _each(result, "parrot")
    ]
    gallery = [
        [
            method,
            name,
            *(
                cell(fields, f, 100, 1)
                for f in ("tar_far_1e-2", "tar_far_1e-3", "rank1")
            ),
            _percent(fields.get("rank1_chance")),
        ]
        for method, name, fields in _each(result, "anonymized_gallery")
    ]
    out = [
        (
            "Attack: parrot",
            _PARROT,
            grid(["method", "judge", "named correctly %", "chance %"], parrot),
        ),
        (
            "Attack: anonymized gallery",
            _GALLERY,
            grid(
                ["method", "judge", "TAR @ 1 %", "TAR @ 0.1 %", "rank-1 %", "chance %"],
                gallery,
            ),
        ),
    ]
    return out + _keyed(result) + _leak(result)


def _keyed(result: dict) -> list[tuple[str, str, str]]:
    lines = [
        [
            method,
            name,
            *(
                cell(fields, f"{key}_{figure}", 100, 1)
                for key in ("same_key", "other_key")
                for figure in ("tar_far_1e-2", "rank1")
            ),
            _percent(fields.get("rank1_chance")),
        ]
        for method, name, fields in _each(result, "keyed")
    ]
    if not lines:
        return []
    headings = [
        "method",
        "judge",
        "same key: TAR @ 1 %",
        "same key: rank-1 %",
        "other key: TAR @ 1 %",
        "other key: rank-1 %",
        "rank-1 chance %",
    ]
    return [("Attack: keys", _KEYED, grid(headings, lines))]


def _leak(result: dict) -> list[tuple[str, str, str]]:
    leaks = (result["model"] or {}).get("attribute_leak")
    if not leaks:
        return []
    lines = [
        [
            name,
            *(cell(leak[what], "top1", 100, 1) for what in _READ),
            _percent(leak["attributes"]["top1_chance"]),
            *(cell(leak[what], "cosine", 1, 3) for what in _READ),
            cell(leak, "cosine_share", 100, 0),
        ]
        for name, leak in leaks.items()
    ]
    headings = [
        "judge",
        *(f"from {what} %" for what in _READ),
        "chance %",
        *(f"cosine from {what}" for what in _READ),
        "attributes' share of image's cosine %",
    ]
    return [("Attack: attribute leak", _LEAK, grid(headings, lines))]
