"""report.json: its schema, its totals, and what it must not tell."""

import json
import pathlib

import pytest

from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.report import schema
from tests.anonymize.folders import make, run

FACE_FIELDS = {
    "box": list,
    "score": float,
    "state": str,
    "cosine": float,
    "threshold": float,
    "margin": float,
    "attempts": int,
    "angle": float,
    "seen_again": bool,
    "checks": list,
}
FILE_FIELDS = {
    "input": str,
    "output": str,
    "state": str,
    "message": str,
    "faces": list,
    "covered": list,
    "output_sha256": str,
    "seconds": float,
    "run": str,
}


def test_report_has_its_schema_and_no_secret(photos):
    key = bytes(range(32))
    people = People(lambda source: lambda faces: ["Ann Person"] * len(faces))
    run(make(key=key), people=people)
    text = pathlib.Path("out/report.json").read_text()
    content = json.loads(text)
    assert set(content) == {"schema", "written", "totals", "runs", "files"}
    assert content["schema"] == schema.SCHEMA
    for record in content["files"]:
        assert {k: type(v) for k, v in record.items()} == FILE_FIELDS
        assert record["state"] in schema.STATES
        for face in record["faces"]:
            assert {k: type(v) for k, v in face.items()} == FACE_FIELDS
            assert face["state"] in schema.FACE_STATES
            assert face["margin"] == pytest.approx(
                face["threshold"] - face["cosine"], abs=2e-4
            )
            assert len(face["checks"]) == 1
    (made_with,) = content["runs"].values()
    assert made_with["settings"]["keyed"] and made_with["model"]["sha256"] == "planted"
    assert key.hex() not in text and "Ann Person" not in text
    totals = content["totals"]
    assert totals["files"]["anonymized"] == totals["faces"]["anonymized"] == 3
    # An interval would promise something of recognizers that were not asked.
    assert totals["recognized"] == {"count": 0, "num": 3}
    margins = totals["margins"]
    assert 0 < margins["least"] <= margins["twentieth"] <= margins["median"]
    assert totals["new_face"]["share"] == 1.0


def test_report_of_the_last_version_is_read(photos):
    run()
    path = pathlib.Path("out/report.json")
    path.write_text(path.read_text().replace(schema.SCHEMA, schema.READ[0]))
    anonymizer = make()
    assert len(run(anonymizer)) == 3 and not anonymizer.tools.generator.requests
    assert schema.READ[0] != schema.SCHEMA == json.loads(path.read_text())["schema"]


def test_totals_of_nothing():
    totals = schema.totals([])
    assert totals["new_face"]["share"] is None
    assert set(totals["margins"].values()) == {None} and not sum(
        totals["files"].values()
    )


def test_share_has_its_exact_interval():
    # scipy.stats.beta.ppf((0.025, 0.975), (3, 4), (8, 7)), as Clopper and Pearson say.
    some, none = schema._share(3, 10), schema._share(0, 30)
    assert (some["share"], some["low"], some["high"]) == (0.3, 0.0667, 0.6525)
    assert (none["low"], none["high"]) == (0.0, round(1 - 0.025 ** (1 / 30), 4))
