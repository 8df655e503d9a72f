"""Parts of a run on several machines: the same bytes as one machine's."""

import pathlib
import pickle
import shutil

import pytest

from id2face_jax.anonymize.batch import cluster, runner, shards
from tests.labels.test_labels import coco_file


@pytest.fixture
def coco(scene):
    """set/val/{0..7}.png with labels; 3.png has no face."""
    names = [(i, f"{i}.png") for i in range(8)]
    for seed, name in names:
        scene.picture(f"set/val/{name}", seed)
    scene.wall("set/val/3.png")
    scene.text("set/annotations/instances_val.json", coco_file(*names))
    return scene


def states(report):
    return {file["output"]: file["state"] for file in report["files"]}


def test_shards_divide_all_and_join_to_the_same_bytes(coco):
    assert coco.run(out="whole") == 3
    codes = {coco.run("--shard", f"{i}/3") for i in (2, 3, 1)}
    assert codes == {0, 3}
    assert "annotations/instances_val.json" not in coco.contents()
    parts = [states(coco.report(f"out/report-{i}-of-3.json")) for i in (1, 2, 3)]
    assert all(parts) and sum(map(len, parts)) == 8
    times = {p: p.stat().st_mtime_ns for p in pathlib.Path("out/val").iterdir()}
    assert coco.run() == 3
    assert coco.contents() == coco.contents("whole")
    assert times == {p: p.stat().st_mtime_ns for p in pathlib.Path("out/val").iterdir()}
    assert states(coco.report()) == states(coco.report("whole/report.json"))


def test_part_of_a_file_depends_on_no_other_and_on_no_place(coco):
    coco.run("--shard", "1/3")
    first = set(coco.contents())
    pathlib.Path("set/val/0.png").unlink()
    coco.picture("set/val/9.png", 9)
    shutil.move("set", "elsewhere")
    coco.run("--shard", "1/3", source="elsewhere", out="more")
    same = {name for name in first if not name.endswith("0.png")}
    assert same <= set(coco.contents("more")) <= same | {"val/9.png"}


def test_part_that_failed_is_done_by_the_joining_run(coco):
    coco.run("--shard", "1/3")
    coco.run(out="whole")
    assert coco.run() == 3
    assert coco.contents() == coco.contents("whole")


def test_results_of_parts_are_no_input(coco, capsys):
    coco.run("--shard", "1/2")
    assert coco.run(source="out", out="more") == 1
    assert "no photo in out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [("0/4", "are 1/4 to 4/4"), ("5/4", "1/4 to 4/4"), ("2", "as 2/8"), ("a/b", "2/8")],
)
def test_wrong_shard_is_an_error(coco, capsys, text, message):
    assert coco.run("--shard", text) == 1
    assert message in capsys.readouterr().err


def test_every_name_is_in_one_shard():
    names = [f"folder/{i}.jpg" for i in range(300)]
    count = [sum(shards.Shard(i, 3).has(name) for name in names) for i in (1, 2, 3)]
    assert sum(count) == 300 and min(count) > 70


@pytest.mark.parametrize("extra", [["--shard", "1/2"], ["--ray-address", "local"]])
def test_similarity_needs_all_photos_in_one_process(coco, capsys, extra):
    assert coco.run("--key-file", "k", *extra) == 2
    assert "--person-from" in capsys.readouterr().err


def test_command_sends_a_cluster_all_that_a_worker_needs(coco, monkeypatch):
    calls = []

    def run(make_worker, jobs, ledger, options, **others):
        calls.append(others)
        worker = pickle.loads(pickle.dumps(make_worker))()
        ledger.add_run(worker.run_id, worker.made_with)
        todo, records = runner.begin(jobs, ledger, options, worker.run_id)
        for group in runner.groups(reversed(todo), 3):
            for job, product in zip(group, worker(group), strict=True):
                records += runner.commit(job, product, ledger)
        return records

    assert coco.run("--seed", "5", out="whole") == 3
    monkeypatch.setattr(cluster, "run", run)
    extra = ["--ray-address", "auto", "--workers", "2", "--quiet"]
    assert coco.run("--seed", "5", *extra) == 3
    assert calls == [{"address": "auto", "num_workers": 2, "quiet": True}]
    assert coco.contents() == coco.contents("whole")
    assert coco.report()["runs"] == coco.report("whole/report.json")["runs"]


def test_workers_are_for_a_cluster(coco):
    assert coco.run("--workers", "2") == 2
    assert coco.run("--workers", "0", "--ray-address", "local") == 2
