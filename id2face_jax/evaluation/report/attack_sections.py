"""The attackers' figures as sections: the words about attacks."""

from id2face_jax.evaluation.report.tables import Section, Table, cell, percent

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
    "be as unlike as different people."
)
_LEAK = (
    "Attribute leak: how often a linear probe finds the person's embedding among 100 "
    "from what the network keeps as attributes, against the same probe on the photo "
    "itself and on the picture around the face; and the cosine of what it reads to the "
    "embedding, over that to other people's. The attributes' share of the photo's "
    "should be small."
)

_READ = ("image", "attributes", "surroundings")  # what the probe is given


def _each(result: dict, attack: str):
    for row in result["rows"]:
        for name, fields in ((row["attacks"] or {}).get(attack) or {}).items():
            yield row["method"], name, fields


def sections(result: dict) -> list[Section]:
    """One of each attack that was made."""
    if not any(row["attacks"] for row in result["rows"]):
        return []
    parrot = [
        [method, name, cell(fields, "accuracy", 100, 1), percent(fields.get("chance"))]
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
            percent(fields.get("rank1_chance")),
        ]
        for method, name, fields in _each(result, "anonymized_gallery")
    ]
    out = [
        Section(
            "Attack: parrot",
            _PARROT,
            Table(["method", "recognizer", "named correctly %", "chance %"], parrot),
        ),
        Section(
            "Attack: anonymized gallery",
            _GALLERY,
            Table(
                [
                    "method",
                    "recognizer",
                    "TAR @ 1 %",
                    "TAR @ 0.1 %",
                    "rank-1 %",
                    "chance %",
                ],
                gallery,
            ),
        ),
    ]
    return out + _keyed(result) + _leak(result)


def _keyed(result: dict) -> list[Section]:
    lines = [
        [
            method,
            name,
            *(
                cell(fields, f"{key}_{figure}", 100, 1)
                for key in ("same_key", "other_key")
                for figure in ("tar_far_1e-2", "rank1")
            ),
            percent(fields.get("rank1_chance")),
        ]
        for method, name, fields in _each(result, "keyed")
    ]
    if not lines:
        return []
    headings = [
        "method",
        "recognizer",
        "same key: TAR @ 1 %",
        "same key: rank-1 %",
        "other key: TAR @ 1 %",
        "other key: rank-1 %",
        "rank-1 chance %",
    ]
    return [Section("Attack: keys", _KEYED, Table(headings, lines))]


def _leak(result: dict) -> list[Section]:
    leaks = (result["model"] or {}).get("attribute_leak")
    if not leaks:
        return []
    lines = [
        [
            name,
            *(cell(leak[what], "top1", 100, 1) for what in _READ),
            percent(leak["attributes"]["top1_chance"]),
            *(cell(leak[what], "cosine", 1, 3) for what in _READ),
            cell(leak, "cosine_share", 100, 0),
        ]
        for name, leak in leaks.items()
    ]
    headings = [
        "recognizer",
        *(f"from {what} %" for what in _READ),
        "chance %",
        *(f"cosine from {what}" for what in _READ),
        "attributes' share of image's cosine %",
    ]
    return [Section("Attack: attribute leak", _LEAK, Table(headings, lines))]
