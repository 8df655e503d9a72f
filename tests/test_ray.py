"""A run on a local Ray cluster of two workers, one of which is killed."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from id2face_jax import atomic
from id2face_jax.anonymize.batch import cluster, discovery, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.report.record import FileRecord
from tests.anonymize import planted
from tests.anonymize.folders import contents, make, save, states

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed: no cluster was tested", allow_module_level=True)

NUM = 9


def photos(folder):
    for seed in range(NUM):
        save(folder / "photos" / f"{seed}.png", planted.picture(seed))
    (folder / "photos" / "empty.jpg").write_bytes(b"")


def killer(folder, deadly):
    """Makes workers that die of some pictures.

    deadly: sum of a crop's pixels -> how often it kills.
    """

    def new_face(requests, row):
        key = int(requests.crops[row].sum())
        died = folder / f"died-{key}"
        if (died.stat().st_size if died.exists() else 0) < deadly.get(key, 0):
            with open(died, "a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return planted.other_face(requests, row)

    def make_worker():
        with open(folder / "loads", "a") as file:
            file.write(f"{os.getpid()} {os.environ['NPROC']}\n")
        return runner.Worker(make(new_face), FileOptions(), People())

    return make_worker


# A process of its own: Ray leaves threads and open files in the one that starts it.
SCRIPT = """
import pathlib, sys
from id2face_jax.anonymize.batch import cluster, discovery, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from tests import test_ray
deadly = {int(pair.split(":")[0]): int(pair.split(":")[1]) for pair in sys.argv[1:]}
ledger = state.Ledger("out/report.json")
cluster.run(
    test_ray.killer(pathlib.Path.cwd(), deadly), discovery.plan(["photos"], "out"),
    ledger,
    FileOptions(batch_size=2), address="local", num_workers=2, quiet=True,
)
ledger.close()
"""


def run_on_cluster(deadly):
    """The states of a run on two workers of a new cluster, by name, and messages."""
    root = str(pathlib.Path(__file__).parents[1])
    pairs = [f"{key}:{times}" for key, times in deadly.items()]
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *pairs],
        env=os.environ | {"PYTHONPATH": root},
        check=True,
    )
    found = json.loads(pathlib.Path("out/report.json").read_text())["files"]
    records = map(FileRecord.from_json, found)
    return {pathlib.Path(record.input).name: record for record in records}


@pytest.mark.slow
def test_killed_workers_lose_no_file_and_leave_none_untouched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path)
    anonymizer = make()
    ledger = state.Ledger("whole/report.json")
    jobs = discovery.plan(["photos"], "whole")
    runner.run(anonymizer, jobs, ledger, FileOptions(batch_size=1), People(), True)
    ledger.close()
    sums = [int(r.crops[0].sum()) for r in anonymizer.tools.generator.requests]
    assert len(set(sums)) == NUM
    # One worker dies once, on the fourth picture; the sixth kills whoever has it.
    records = run_on_cluster({sums[3]: 1, sums[5]: 99})
    expected = dict.fromkeys((f"{i}.png" for i in range(NUM)), "anonymized")
    expected |= {"5.png": "refused", "empty.jpg": "refused"}
    assert states(records) == expected
    assert "2 workers died while they worked on it" in records["5.png"].message
    deaths = {path.name: path.stat().st_size for path in tmp_path.glob("died-*")}
    assert deaths == {f"died-{sums[3]}": 1, f"died-{sums[5]}": 2}
    whole = contents("whole")
    del whole["5.png"]
    assert contents() == whole  # the bytes of one process; no part file, no mark
    # Models are loaded once a process: by two, and by one more after each death.
    loads = [line.split() for line in (tmp_path / "loads").read_text().splitlines()]
    assert 2 <= len({pid for pid, _ in loads}) == len(loads) <= 5
    assert {threads for _, threads in loads} == {"1"}


def test_part_that_is_not_what_the_worker_wrote_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path)
    worker = runner.Worker(make(), FileOptions(), People())
    ledger = state.Ledger("out/report.json")
    job, other = discovery.plan(["photos/0.png", "photos/1.png"], "out")
    product, kept = worker([job, other])
    atomic.part_path(job.output).write_bytes(b"of another machine")
    (record,) = cluster._commit(job, product, ledger)
    assert record.state == "refused" and "under the same path" in record.message
    (record,) = cluster._commit(other, kept, ledger)
    ledger.close()
    assert record.state == "anonymized" and set(contents()) == {"1.png"}


def test_file_that_killed_two_workers_is_refused_and_blames_no_other(tmp_path):
    photos(tmp_path)
    jobs = discovery.plan([tmp_path / "photos"], tmp_path / "out")[:3]
    worker = runner.Worker(make(), FileOptions(), People())
    for _ in range(2):
        cluster._add_mark(jobs[1])
    cluster._add_mark(jobs[0])
    states = [p.records[0].state for p in cluster._products(worker, jobs)]
    assert states == ["anonymized", "refused", "anonymized"]
    assert not cluster._mark(jobs[0]).exists()


def test_missing_ray_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[ray\]'"):
        cluster._ray()
