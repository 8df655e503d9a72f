"""The figures in sections: a title, a sentence on how to read them, a table.

Owns the words that `evaluation.md` and `report.html` share. Reads the result's dict
alone, so a stored evaluation.json gives the same text.
"""

from id2face_jax.evaluation.methods.anonymize import STATES
from id2face_jax.evaluation.report import attack_sections
from id2face_jax.evaluation.report.tables import Section, Table, cell, percent

# Field, heading, scale, digits: the columns every row has.
_UTILITY = (
    ("detection_rate", "face found %", 100, 1),
    ("second_detection_rate", "found by 2nd %", 100, 1),
    ("landmark_error_pct", "landmark error %", 1, 2),
    ("pose_error_deg", "pose error °", 1, 2),
    ("expression_agreement", "same expression %", 100, 1),
    ("expression_overlap", "expression overlap", 1, 3),
    ("identity_control_top1", "asked identity nearest %", 100, 1),
)
_QUALITY = (
    ("frechet_distance", "Fréchet", 1, 2),
    ("kernel_distance", "kernel", 1, 4),
    ("psnr_outside_db", "PSNR outside dB", 1, 1),
    ("ssim_outside", "SSIM outside", 1, 3),
    ("lpips_outside", "LPIPS outside", 1, 4),
    ("seam_ratio", "seam", 1, 2),
    ("brightness_shift", "light shift L*", 1, 1),
    ("skin_tone_shift", "tone shift °", 1, 1),
    ("diversity_wasserstein", "diversity W1", 1, 3),
    ("seconds_per_face", "s / face", 1, 3),
)
_PRIVACY = (
    ("tar_far_1e-2", "TAR @ 1 %", 100, 1),
    ("tar_far_1e-3", "TAR @ 0.1 %", 100, 1),
    ("rank1", "rank-1 %", 100, 1),
    ("rank5", "rank-5 %", 100, 1),
    ("source_match_far_1e-3", "matches own source % @ 0.1 %", 100, 1),
    ("cosine_mean", "cosine to source", 1, 3),
)


_PRIVACY_SENTENCE = (
    "TAR (true accept rate): how many of 100 comparisons of an anonymized photo with "
    "the person's other photos a recognizer accepts, set so that it takes 1 (or 0.1) "
    "of 100 other people for the person (FAR, false accept rate). Rank-1 and rank-5: "
    "the person is the first, or among the first five, that a search finds. All the "
    "numbers of an anonymous picture are near chance."
)
_UTILITY_SENTENCE = (
    "What is left of the photo: how often the face is still found, and how far "
    "landmarks, head pose and expression moved, measured on the faces that were found; "
    '"asked identity nearest" says how often the new identity that was asked for is '
    "the closest of 100 to the picture (chance 1 %, built-in recognizer)."
)
_INTERVENTIONS = (
    ("asked_cosine", "to the identity asked for", 1, 3),
    ("former_cosine", "to the one before", 1, 3),
    ("landmarks_pct", "landmarks moved %", 1, 2),
    ("mouth_pct", "mouth moved %", 1, 2),
    ("light", "light moved L*", 1, 1),
    ("pose_deg", "pose moved °", 1, 2),
)
_CHANGED = {
    "identity": "the identity alone",
    "attributes": "the photo alone",
    "photos": "both: untouched photos",
}
_INTERVENTIONS_SENTENCE = (
    "Two pictures that differ in one input of the generator. Who appears should follow "
    "the identity: a low cosine where it alone changes, a high one where the photo "
    "does. Landmarks, mouth, light and pose should follow the photo: little where the "
    "identity alone changes, as much as between untouched photos where the photo does. "
    "The cosines to identities asked for are by the built-in recognizer."
)
_STATES_SENTENCE = (
    "None is dropped from the figures: a photo that is not written is measured as a "
    "black crop, and one that was missed as it is."
)


def _columns(result: dict, fields) -> Table:
    """One of _UTILITY and _QUALITY, a line a method."""
    lines = [
        [row["method"], *(cell(row, name, *form) for name, _, *form in fields)]
        for row in result["rows"]
    ]
    return Table(["method", *(heading for _, heading, *_ in fields)], lines)


def _privacy(result: dict, name: str) -> Table:
    """Every method's privacy by one recognizer."""
    lines = [
        [
            row["method"],
            *(
                cell(row["recognizers"][name], field, *form)
                for field, _, *form in _PRIVACY
            ),
        ]
        for row in result["rows"]
    ]
    return Table(["method", *(heading for _, heading, *_ in _PRIVACY)], lines)


def _recognizer_sentence(result: dict, name: str) -> str:
    """What a recognizer reaches on untouched photos, and whether it is independent."""
    clean = result["recognizers"][name]
    role = (
        "Independent: it had no part in making the pictures."
        if clean["independent"]
        else "Not independent: the generator is conditioned on it, so read the others "
        "first."
    )
    chance = result["rows"][0]["recognizers"][name]["rank1_chance"]
    return (
        f"{role} Untouched photos: TAR "
        f"{cell(clean, 'clean_tar_far_1e-2', 100, 1)} % at FAR 1 % (threshold "
        f"{_number(clean['threshold_far_1e-2'])}), "
        f"{cell(clean, 'clean_tar_far_1e-3', 100, 1)} % at FAR 0.1 % (threshold "
        f"{_number(clean['threshold_far_1e-3'])}), from {clean['num_impostor_pairs']} "
        "pairs of different people. Chance: TAR 1 % and 0.1 %, rank-1 "
        f"{_number(None if chance is None else 100 * chance, 2)} %. Lower is more "
        "private."
    )


def _quality_sentence(result: dict) -> str:
    """What the quality columns mean and rest on."""
    data, frechet = result["data"], result["frechet"]
    return (
        f"Fréchet and kernel distance on {frechet['features']} of "
        f"{frechet['num_photos']} crops of {data['crop_size']} px against "
        f"{frechet['reference']}: 0 is alike, and not comparable with Inception FID. "
        '"Outside" is the picture around the face, where nothing should change. Seam: '
        "edges along the border of the changed region, 1 as in the photo. Diversity: "
        f"distance of the similarity of {result['diversity']['identities_a_face']} new "
        "identities for one face to that of different people, 0 is as different as "
        "people."
    )


def _states(result: dict) -> list[Section]:
    """What became of the photos, of each method where that varies."""
    found = []
    for row in result["rows"]:
        if row["states"] is None:
            continue
        num = sum(row["states"].values())
        lines = [
            [f"{state}: {STATES[state]}", str(count), percent(count / num)]
            for state, count in row["states"].items()
        ]
        title = f"What became of the photos: {row['method']}"
        table = Table(["state", "photos", "%"], lines)
        found.append(Section(title, _STATES_SENTENCE, table))
    return found


def _interventions(result: dict) -> list[Section]:
    """What follows the identity, and what the photo."""
    found = (result["model"] or {}).get("interventions")
    if not found:
        return []
    names = list(result["recognizers"])
    fields = [(f"cosine_{name}", f"cosine by {name}", 1, 3) for name in names]
    fields += _INTERVENTIONS
    lines = [
        [title, *(cell(found[key], name, *form) for name, _, *form in fields)]
        for key, title in _CHANGED.items()
    ]
    table = Table(["changed", *(heading for _, heading, *_ in fields)], lines)
    return [Section("Interventions", _INTERVENTIONS_SENTENCE, table)]


def _number(value: float | None, digits: int = 3) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def _not_measured(result: dict) -> str:
    """Every figure without a value, and why."""
    reasons: dict[str, list[str]] = {}
    for row in result["rows"]:
        for name, why in row["not_measured"].items():
            reasons.setdefault(f"{name}: {why}", []).append(row["method"])
    lines = [f"{reason} ({', '.join(names)})" for reason, names in reasons.items()]
    lines += [f"{method}: {why}" for method, why in result["left_out"].items()]
    return "; ".join(lines) + "." if lines else "Everything was measured."


def sections(result: dict) -> list[Section]:
    """Everything that has a table, in order."""
    found = [Section("Privacy", _PRIVACY_SENTENCE)]
    for name in result["recognizers"]:
        text = _recognizer_sentence(result, name)
        found.append(Section(f"By {name}", text, _privacy(result, name), True))
    return [
        *_states(result),
        *found,
        Section("Utility", _UTILITY_SENTENCE, _columns(result, _UTILITY)),
        Section("Quality", _quality_sentence(result), _columns(result, _QUALITY)),
        *_interventions(result),
        *attack_sections.sections(result),
        Section("Not measured", _not_measured(result)),
    ]
