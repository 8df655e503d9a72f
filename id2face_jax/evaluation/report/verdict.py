"""What makes an evaluation fail: photos that were not anonymized, and
recognizers that know nobody.

Owns the rules that turn figures into an exit code, so that a broken generator or a
mis-wired recognizer cannot leave a flattering table behind. Controls are exempt: it
is their job to be weak.
"""

# An anonymizer that leaves half of what an untouched photo gives away hides nobody.
MAX_SHARE_OF_CLEAN = 0.5
MIN_CLEAN_TAR = 0.5  # at FAR 1e-2; a recognizer below it says nothing
MAX_REPEAT_DIFFERENCE = 1  # gray level: rounding of another order of summation


def recognizer_failures(name: str, fields: dict) -> list[str]:
    """What is wrong with one recognizer; fields: its entry in the result."""
    out = []
    clean = fields["clean_tar_far_1e-2"]
    if clean is not None and clean < MIN_CLEAN_TAR:
        out.append(
            f"recognizer {name} accepts only {100 * clean:.1f} % of untouched pairs at "
            f"FAR 1 % (expected over {100 * MIN_CLEAN_TAR:.0f} %), so everything looks "
            "anonymous to it; check its preprocessing, or leave it out"
        )
    if fields["separation_swapped_channels"] > fields["separation"]:
        out.append(
            f"recognizer {name} tells people apart better with red and blue exchanged "
            f"(d' {fields['separation_swapped_channels']:.2f}, as fed "
            f"{fields['separation']:.2f}; TAR at FAR 0.1 % "
            f"{_percent(fields['clean_tar_swapped_far_1e-3'])}, as fed "
            f"{_percent(fields['clean_tar_far_1e-3'])}); it is fed the wrong channel "
            "order, say so beside the file (docs/evaluation.md)"
        )
    return out


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def row_failures(row: dict, must_hide: bool) -> list[str]:
    """What is wrong with one method; row: its entry in the result."""
    out = []
    name = row["method"]
    if row["repeat_max_difference"] > MAX_REPEAT_DIFFERENCE:
        out.append(
            f"method {name} gave other pictures when run again in another order "
            f"(pixels differ by up to {row['repeat_max_difference']}); its figures "
            "cannot be repeated"
        )
    if not must_hide:
        return out
    if row["untouched_share"] > 0:
        num = round(row["untouched_share"] * row["counts"]["untouched_share"][0])
        out.append(
            f"method {name} left {num} faces as they were (under two gray levels of "
            "change inside the mask): it passes photos through"
        )
    for recognizer, figures in row["recognizers"].items():
        tar, clean = figures["tar_far_1e-2"], figures["clean_tar_far_1e-2"]
        if tar is not None and tar >= MAX_SHARE_OF_CLEAN * clean:
            out.append(
                f"method {name} does not anonymize: recognizer {recognizer} accepts "
                f"{100 * tar:.1f} % of its outputs at FAR 1 %, against "
                f"{100 * clean:.1f} % of untouched photos (expected under half)"
            )
    return out
