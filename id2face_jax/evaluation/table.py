"""The result as Markdown: the table, its intervals, and how to read it.

Owns the words of `evaluation.md`. Reads the result's dict alone, so a stored
evaluation.json gives the same text.
"""

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


def cell(fields: dict, name: str, scale: float = 1, digits: int = 3) -> str:
    """A value with its interval, such as "3.1 (2.0-4.4)"; a dash when there is none."""
    value = fields.get(name)
    if value is None:
        return "–"
    text = f"{value * scale:.{digits}f}"
    interval = fields["intervals"].get(name)
    if interval and interval[0] != interval[1]:
        low, high = (f"{bound * scale:.{digits}f}" for bound in interval)
        text += f" ({low} to {high})"
    return text


def grid(headings: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _columns(rows: list[dict], columns) -> str:
    lines = [
        [row["method"], *(cell(row, name, *form) for name, _, *form in columns)]
        for row in rows
    ]
    return grid(["method", *(heading for _, heading, *_ in columns)], lines)


def _privacy(result: dict, name: str) -> str:
    lines = []
    for row in result["rows"]:
        judged = row["recognizers"][name]
        lines.append(
            [row["method"], *(cell(judged, n, *form) for n, _, *form in PRIVACY)]
        )
    clean = result["recognizers"][name]
    role = (
        "independent: it had no part in making the pictures"
        if clean["independent"]
        else "**not independent**: the method conditions on it; read the others first"
    )
    chance = result["rows"][0]["recognizers"][name]["rank1_chance"]
    return "\n\n".join(
        [
            f"### Privacy by `{name}`",
            f"{role}. Untouched photos: TAR "
            f"{cell(clean, 'clean_tar_far_1e-2', 100, 1)} % at FAR 1 % (threshold {_number(clean['threshold_far_1e-2'])}), "
            f"{cell(clean, 'clean_tar_far_1e-3', 100, 1)} % at FAR 0.1 % (threshold "
            f"{_number(clean['threshold_far_1e-3'])}), from "
            f"{clean['num_impostor_pairs']} impostor pairs. Chance: TAR 1 % and 0.1 %, "
            f"rank-1 {_number(None if chance is None else 100 * chance, 2)} %. "
            "Lower is more private.",
            grid(["method", *(heading for _, heading, *_ in PRIVACY)], lines),
        ]
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


def _not_measured(result: dict) -> str:
    reasons: dict[str, list[str]] = {}
    for row in result["rows"]:
        for name, why in row["not_measured"].items():
            reasons.setdefault(f"`{name}`: {why}", []).append(row["method"])
    if not reasons:
        return "Everything was measured."
    return "\n".join(
        f"- {reason} ({', '.join(methods)})" for reason, methods in reasons.items()
    )


def to_markdown(result: dict) -> str:
    """The whole of evaluation.md."""
    data, frechet = result["data"], result["frechet"]
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
        *(_privacy(result, name) for name in result["recognizers"]),
        "## Utility",
        _columns(result["rows"], UTILITY),
        "## Quality",
        f"Fréchet and kernel distance on {frechet['features']}, "
        f"{frechet['num_photos']} crops of {data['crop_size']} px against {frechet['reference']}; not "
        "comparable with Inception FID.",
        _columns(result["rows"], QUALITY),
        "## Not measured",
        _not_measured(result),
    ]
    return "\n\n".join(parts) + "\n"
