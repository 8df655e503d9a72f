"""The result as Markdown: the table, its intervals, and how to read it.

Owns the words of `evaluation.md`. Reads the result's dict alone, so a stored
evaluation.json gives the same text.
"""

from id2face_jax.evaluation.report import attack_table
from id2face_jax.evaluation.report.tables import cell, grid

# Field, heading, scale, digits: the columns every row has.
UTILITY = (
    ("detection_rate", "face found %", 100, 1),
    ("second_detection_rate", "found by 2nd %", 100, 1),
    ("landmark_error_pct", "landmark error %", 1, 2),
    ("pose_error_deg", "pose error °", 1, 2),
    ("expression_agreement", "same expression %", 100, 1),
    ("expression_overlap", "expression overlap", 1, 3),
    ("identity_control_top1", "asked identity nearest %", 100, 1),
)
QUALITY = (
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
PRIVACY = (
    ("tar_far_1e-2", "TAR @ 1 %", 100, 1),
    ("tar_far_1e-3", "TAR @ 0.1 %", 100, 1),
    ("rank1", "rank-1 %", 100, 1),
    ("rank5", "rank-5 %", 100, 1),
    ("source_match_far_1e-3", "matches own source % @ 0.1 %", 100, 1),
    ("cosine_mean", "cosine to source", 1, 3),
)


PRIVACY_SENTENCE = (
    "TAR (true accept rate): how many of 100 comparisons of an anonymized photo with "
    "the person's other photos a recogniser accepts, set so that it takes 1 (or 0.1) "
    "of 100 strangers for the person (FAR, false accept rate). Rank-1 and rank-5: the "
    "person is the first, or among the first five, that a search finds. All the "
    "numbers of an anonymous picture are near chance."
)
UTILITY_SENTENCE = (
    "What is left of the photo: how often the face is still found, and how far "
    "landmarks, head pose and expression moved, measured on the faces that were found; "
    '"asked identity nearest" says how often the new identity that was asked for is '
    "the closest of 100 to the picture (chance 1 %, built-in recogniser)."
)


def columns(result: dict, fields) -> str:
    """One of UTILITY and QUALITY as a Markdown table."""
    lines = [
        [row["method"], *(cell(row, name, *form) for name, _, *form in fields)]
        for row in result["rows"]
    ]
    return grid(["method", *(heading for _, heading, *_ in fields)], lines)


def privacy_grid(result: dict, name: str) -> str:
    """Every method's privacy by one recogniser as a Markdown table."""
    lines = [
        [
            row["method"],
            *(
                cell(row["recognizers"][name], field, *form)
                for field, _, *form in PRIVACY
            ),
        ]
        for row in result["rows"]
    ]
    return grid(["method", *(heading for _, heading, *_ in PRIVACY)], lines)


def recognizer_sentence(result: dict, name: str) -> str:
    """What a recogniser reaches on untouched photos, and whether it is independent."""
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
        "pairs of strangers. Chance: TAR 1 % and 0.1 %, rank-1 "
        f"{_number(None if chance is None else 100 * chance, 2)} %. Lower is more "
        "private."
    )


def quality_sentence(result: dict) -> str:
    """What the quality columns mean and rest on."""
    data, frechet = result["data"], result["frechet"]
    return (
        f"Fréchet and kernel distance on {frechet['features']} of "
        f"{frechet['num_photos']} crops of {data['crop_size']} px against "
        f"{frechet['reference']}: 0 is alike, and not comparable with Inception FID. "
        '"Outside" is the picture around the face, where nothing should change. Seam: '
        "edges along the border of the changed region, 1 as in the photo. Diversity: "
        f"distance between the likeness of {result['diversity']['identities_a_face']} "
        "new identities for one face and that of strangers, 0 is as different as "
        "people."
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def not_measured(result: dict) -> str:
    """Every figure without a value, and why."""
    reasons: dict[str, list[str]] = {}
    for row in result["rows"]:
        for name, why in row["not_measured"].items():
            reasons.setdefault(f"{name}: {why}", []).append(row["method"])
    lines = [f"{reason} ({', '.join(names)})" for reason, names in reasons.items()]
    return "; ".join(lines) + "." if lines else "Everything was measured."


def to_markdown(result: dict) -> str:
    """The whole of evaluation.md."""
    data = result["data"]
    verdict = "passed" if result["passed"] else "FAILED"
    parts = [
        "# Evaluation",
        f"**{verdict}.** {data['num_photos']} photos of {data['num_people']} people "
        f"({data['split']}); {data['num_queries']} queries of "
        f"{data['num_people_with_pairs']} people with several photos. Seed "
        f"{result['seed']}. In brackets: 95 % intervals over people.",
        *(f"- FAILED: {failure}" for failure in result["failures"]),
        "## Methods",
        "\n".join(f"- **{row['method']}**: {row['meaning']}" for row in result["rows"]),
        "## Privacy",
        PRIVACY_SENTENCE,
    ]
    for name in result["recognizers"]:
        parts += [
            f"### By `{name}`",
            recognizer_sentence(result, name),
            privacy_grid(result, name),
        ]
    parts += ["## Utility", UTILITY_SENTENCE, columns(result, UTILITY)]
    parts += ["## Quality", quality_sentence(result), columns(result, QUALITY)]
    for title, sentence, lines in attack_table.sections(result):
        parts += [f"## {title}", sentence, lines]
    parts += ["## Not measured", not_measured(result)]
    return "\n\n".join(parts) + "\n"
