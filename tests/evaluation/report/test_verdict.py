"""What fails a run, and what does not."""

import pytest

from id2face_jax.evaluation.report import verdict


def row(**changes):
    figures = {"tar_far_1e-2": 0.02, "clean_tar_far_1e-2": 0.98}
    return {
        "method": "id2face",
        "repeat_max_difference": 0,
        "untouched_share": 0.0,
        "counts": {"untouched_share": [100, 40]},
        "recognizers": {"other": figures | changes.pop("figures", {})},
    } | changes


def test_a_sound_row_passes():
    assert verdict.row_failures(row(), must_hide=True) == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"untouched_share": 0.01}, "left 1 faces as they were"),
        (
            {"figures": {"tar_far_1e-2": 0.6}},
            "does not anonymize: recognizer other",
        ),
        ({"repeat_max_difference": 9}, "other pictures when run again"),
    ],
)
def test_what_fails_a_row(changes, message):
    (failure,) = verdict.row_failures(row(**changes), must_hide=True)
    assert message in failure


def test_controls_may_be_weak():
    weak = row(untouched_share=1.0, figures={"tar_far_1e-2": 0.98})
    assert verdict.row_failures(weak, must_hide=False) == []


def described(**changes):
    return {
        "clean_tar_far_1e-2": 0.98,
        "clean_tar_far_1e-3": 0.95,
        "clean_tar_swapped_far_1e-3": 0.93,
        "separation": 5.7,
        "separation_swapped_channels": 5.3,
    } | changes


def test_what_fails_a_recognizer():
    assert verdict.recognizer_failures("other", described()) == []
    (deaf,) = verdict.recognizer_failures(
        "other", described(**{"clean_tar_far_1e-2": 0.2})
    )
    assert "accepts only 20.0 % of untouched pairs" in deaf
    (swapped,) = verdict.recognizer_failures(
        "other", described(separation_swapped_channels=6.0)
    )
    assert "wrong channel order" in swapped
