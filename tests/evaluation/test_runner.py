"""Known answers on real faces: what must come out of the whole evaluation."""

import dataclasses
import json

import numpy as np
import pytest

from id2face_jax.evaluation import runner
from id2face_jax.evaluation.metrics import clean as on_clean
from id2face_jax.evaluation.metrics import privacy
from id2face_jax.evaluation.report import files, markdown, verdict

RECOGNIZERS = ("dlib", "mobilefacenet-y1")


def row_of(result, name):
    return next(row for row in result["rows"] if row["method"] == name)


@pytest.mark.parametrize("recognizer", RECOGNIZERS)
def test_untouched_photos_score_the_clean_figures(result, recognizer):
    figures = row_of(result, "identity")["recognizers"][recognizer]
    for far in ("1e-2", "1e-3"):
        assert figures[f"tar_far_{far}"] == figures[f"clean_tar_far_{far}"]
    assert figures["clean_tar_far_1e-2"] > 0.9
    assert figures["rank1"] > 0.9
    assert figures["cosine_mean"] == pytest.approx(1, abs=1e-6)
    assert figures["source_match_far_1e-3"] == 1


@pytest.mark.parametrize("recognizer", RECOGNIZERS)
def test_a_black_box_scores_chance_although_no_face_is_found(result, recognizer):
    row = row_of(result, "black")
    figures = row["recognizers"][recognizer]
    assert row["detection_rate"] == 0
    assert figures["tar_far_1e-2"] < 0.08
    low, high = figures["intervals"]["rank1"]
    assert figures["rank1"] < 0.2 and low <= figures["rank1_chance"] <= high


@pytest.mark.parametrize("recognizer", RECOGNIZERS)
def test_blur_lies_in_between(result, recognizer):
    black, blur, clean = (
        row_of(result, name)["recognizers"][recognizer]
        for name in ("black", "blur", "identity")
    )
    for field in ("rank1", "cosine_mean"):
        assert black[field] < blur[field] < clean[field]


def test_a_planted_pass_through_generator_fails_the_run(result):
    assert not result["passed"]
    text = "\n".join(row_of(result, "planted")["failures"])
    assert "it passes photos through" in text
    for recognizer in RECOGNIZERS:
        assert f"does not anonymize: recognizer {recognizer}" in text
    assert all("planted" in failure for failure in result["failures"])


def test_untouched_photos_are_perfect_pictures(result):
    row = row_of(result, "identity")
    assert row["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert row["landmark_error_pct"] == 0 and row["detection_rate"] == 1
    assert row["psnr_outside_db"] == 100 and row["seam_ratio"] == pytest.approx(1)
    assert row["frechet_distance"] < row_of(result, "blur")["frechet_distance"]
    assert row["crowd_wasserstein"] == 0


def test_what_was_not_measured_says_why(result):
    row = row_of(result, "blur")
    assert row["pose_error_deg"] is None
    assert row["not_measured"]["pose_error_deg"] == "no --pose given"
    assert row["attacks"] is None
    assert "no --pose given" in markdown.to_markdown(result)


def test_parts_of_the_people_add_up(result):
    for row in result["rows"]:
        counts = {}
        for entry in row["fairness"]:
            counts.setdefault(entry["axis"], []).append(entry["num_photos"])
        assert set(counts) == {"pose", "brightness", "face_size", "skin_tone"}
        assert all(sum(c) == result["data"]["num_photos"] for c in counts.values())


def test_the_fields_that_are_promised_are_there(result, tmp_path):
    files.write_json(result, tmp_path / "evaluation.json")
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert stored["schema_version"] == runner.SCHEMA_VERSION
    for row in stored["rows"]:
        for field in (
            "detection_rate",
            "landmark_error_pct",
            "pose_error_deg",
            "frechet_distance",
            "diversity_wasserstein",
            "seconds_per_face",
            "identity_control_top1",
        ):
            assert field in row
        for recognizer in RECOGNIZERS:
            assert {
                "clean_tar_far_1e-3",
                "tar_far_1e-2",
                "tar_far_1e-3",
                "rank1",
                "cosine_mean",
                "threshold_far_1e-3",
            } <= set(row["recognizers"][recognizer])


def test_a_recognizer_with_swapped_channels_is_caught(make_context, quick):
    context = make_context()
    name = RECOGNIZERS[1]
    honest = context.recognizers[name].run

    def swapped(images, landmarks):
        return honest([np.ascontiguousarray(x[..., ::-1]) for x in images], landmarks)

    context.recognizers[name] = dataclasses.replace(
        context.recognizers[name], run=swapped, settings="swapped by the test"
    )
    sources, clean = on_clean.open_clean(context)
    reported = on_clean.describe_recognizers(context, sources, clean)
    failures = [
        failure
        for recognizer, fields in reported.items()
        for failure in verdict.recognizer_failures(recognizer, fields)
    ]
    assert len(failures) == 1 and name in failures[0]
    assert "wrong channel order" in failures[0]


def test_thresholds_do_not_know_the_genuine_scores(make_context, quick):
    context = make_context()
    _, clean = on_clean.open_clean(context)
    untouched = clean["dlib"]
    persons = context.people.persons
    closer = untouched.embeddings.copy()
    for person in np.unique(persons):  # everyone's photos become one photo
        own = np.flatnonzero(persons == person)
        closer[own] = closer[own[0]]
    calibration = privacy.calibrate(closer, persons)
    # Impostor pairs are of other photos now, but genuine pairs at 1 move nothing up.
    assert calibration.thresholds[1e-2] < 0.5
