"""Runs of planted models over a folder of photos, for tests."""

import pathlib

import PIL.Image

from id2face_jax.anonymize.batch import discovery, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.options import FaceOptions
from tests.anonymize import planted


def make(function=planted.other_face, **settings):
    return Anonymizer(
        planted.PlantedGenerator(function),
        [planted.PlantedRecognizer()],
        planted.PlantedDetector(),
        FaceOptions(**settings),
    )


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def run(anonymizer=None, out="out", people=None, **options):
    """Runs over photos/ and closes the report; returns records by input."""
    ledger = state.Ledger(pathlib.Path(out) / state.REPORT_NAME)
    jobs = discovery.plan(["photos"], out)
    records = runner.run(
        anonymizer or make(),
        jobs,
        ledger,
        FileOptions(**options),
        people or People(),
        quiet=True,
    )
    ledger.close()
    return {record.input.removeprefix("photos/"): record for record in records}


def contents(out="out"):
    """Names and bytes of what is there, but for the report and its journal."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(pathlib.Path(out).rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".html", ".journal")
    }


def states(records):
    return {name: record.state for name, record in records.items()}
