"""Which files a run reads and where results go, on real folders."""

import json
import os

import pytest

from id2face_jax import atomic
from id2face_jax.anonymize.batch import discovery, state
from id2face_jax.anonymize.report import schema
from id2face_jax.anonymize.report.record import FileRecord


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """photos/{a.jpg, b.PNG, notes.txt, sub/a.jpg, sub/deep/c.webp}, as the cwd."""
    for name in ("a.jpg", "b.PNG", "notes.txt", "sub/a.jpg", "sub/deep/c.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(*args, **options):
    return {
        str(job.source): str(job.output) for job in discovery.plan(*args, **options)
    }


def errors(jobs):
    return {str(job.source): job.error for job in jobs if job.error}


def test_folder_is_mirrored(tree):
    assert planned(["photos"], "out") == {
        "photos/a.jpg": "out/a.jpg",
        "photos/b.PNG": "out/b.PNG",
        "photos/sub/a.jpg": "out/sub/a.jpg",
        "photos/sub/deep/c.webp": "out/sub/deep/c.webp",
    }


def test_one_file_goes_to_a_file_or_into_a_folder(tree):
    assert planned(["photos/a.jpg"], "new/x.png") == {"photos/a.jpg": "new/x.png"}
    assert planned(["photos/a.jpg"], "new") == {"photos/a.jpg": "new/a.jpg"}
    (tree / "dir.png").mkdir()
    assert planned(["photos/a.jpg"], "dir.png") == {"photos/a.jpg": "dir.png/a.jpg"}


def test_pattern_keeps_the_folders_after_its_fixed_part(tree):
    assert planned(["photos/**/*.jpg"], "out") == {
        "photos/a.jpg": "out/a.jpg",
        "photos/sub/a.jpg": "out/sub/a.jpg",
    }


def test_file_whose_name_looks_like_a_pattern(tree):
    (tree / "photos" / "[1].jpg").write_bytes(b"x")
    assert planned(["photos/[1].jpg"], "out") == {"photos/[1].jpg": "out/[1].jpg"}


@pytest.mark.parametrize(
    "names", [["photos/a.jpg", "photos/b.PNG"], ["photos"], ["photos/*.jpg"]]
)
def test_several_inputs_never_go_to_one_file(tree, names):
    with pytest.raises(discovery.UsageError, match="one file"):
        discovery.plan(names, "out.jpg")


def test_same_name_twice_is_refused_for_both(tree):
    jobs = discovery.plan(["photos/a.jpg", "photos/sub/a.jpg", "photos/b.PNG"], "out")
    assert set(errors(jobs)) == {"photos/a.jpg", "photos/sub/a.jpg"}
    assert "2 inputs would be written to out/a.jpg" in errors(jobs)["photos/a.jpg"]


def test_same_file_twice_is_one_job(tree):
    assert len(discovery.plan(["photos/a.jpg", "photos/*.jpg"], "out")) == 1


def test_missing_files_and_patterns_are_jobs_with_errors(tree):
    jobs = discovery.plan(["gone.jpg", "photos/*.heic", "photos/a.jpg"], "out")
    found = errors(jobs)
    assert found == {"gone.jpg": "is not there", "photos/*.heic": "matches no file"}
    assert errors(discovery.plan(["gone.jpg"], "out.png")) == {
        "gone.jpg": "is not there"
    }


def test_results_beside_sources_get_another_name(tree):
    assert planned(["photos/a.jpg"], "photos") == {
        "photos/a.jpg": "photos/a_anonymized.jpg"
    }


def test_source_is_never_the_output(tree):
    jobs = discovery.plan(["photos/a.jpg"], "photos/a.jpg")
    assert "own result" in errors(jobs)["photos/a.jpg"]
    (tree / "link.jpg").symlink_to(tree / "photos" / "a.jpg")
    assert errors(discovery.plan(["photos/a.jpg"], "link.jpg"))


def test_output_folder_inside_of_the_input_is_not_read(tree):
    (tree / "photos" / "out").mkdir()
    (tree / "photos" / "out" / "old.jpg").write_bytes(b"x")
    assert "photos/out/old.jpg" not in planned(["photos"], "photos/out")


@pytest.mark.parametrize("is_finished", [True, False])
def test_results_of_earlier_runs_are_not_read(tree, is_finished):
    ledger = state.Ledger("photos/sub/report.json")
    ledger.add([record("photos/x.jpg", "a.jpg")])
    if is_finished:
        ledger.close()
    assert "photos/sub/a.jpg" not in planned(["photos"], "elsewhere")
    jobs = discovery.plan(["photos/sub/a.jpg"], "elsewhere")
    assert "itself a result" in errors(jobs)["photos/sub/a.jpg"]


def record(source, output, state="anonymized", sha256="0"):
    return FileRecord(
        state, input=source, output=output, output_sha256=sha256, seconds=0.1, run="r"
    )


def test_symbolic_links_are_followed_once(tree):
    (tree / "photos" / "sub" / "loop").symlink_to(tree / "photos")
    (tree / "photos" / "other").symlink_to(tree / "photos" / "sub" / "deep")
    (tree / "photos" / "dangling.jpg").symlink_to(tree / "nowhere.jpg")
    jobs = discovery.plan(["photos"], "out")
    assert len([job for job in jobs if job.source.name == "c.webp"]) == 1
    assert len([job for job in jobs if job.source.name == "b.PNG"]) == 1
    # It is counted; reading it is the error.
    assert "photos/dangling.jpg" in {str(job.source) for job in jobs}


def test_folder_that_cannot_be_opened_is_an_error(tree, monkeypatch):
    real = discovery.pathlib.Path.iterdir

    def iterdir(self):
        if self.name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(self)

    monkeypatch.setattr(discovery.pathlib.Path, "iterdir", iterdir)
    jobs = discovery.plan(["photos"], "out")
    assert errors(jobs) == {"photos/sub": "cannot be opened: Permission denied"}
    assert len(jobs) == 3


def test_name_that_is_no_utf8(tree):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tree / "photos" / name).write_bytes(b"x")
    jobs = discovery.plan(["photos"], "out")
    (job,) = (job for job in jobs if job.source.name == name)
    ledger = state.Ledger("out/report.json")
    ledger.add([record(str(job.source), ledger.relative(job.output))])
    ledger.close()
    files = json.loads((tree / "out" / "report.json").read_text())["files"]
    assert os.fsencode(files[0]["output"]) == b"caf\xe9.jpg"


def test_dry_run_has_names_of_its_own(tree):
    jobs = discovery.for_dry_run(discovery.plan(["photos/a.jpg"], "out"))
    assert str(jobs[0].output) == "out/a.jpg.boxes.png"


# The ledger


def test_result_is_done_only_byte_for_byte_and_newer(tree):
    source, output = tree / "photos" / "a.jpg", tree / "out" / "a.jpg"
    ledger = state.Ledger(tree / "out" / "report.json")
    assert not ledger.is_done(source, output, None)
    ledger.add([record("a", "a.jpg", sha256=atomic.hash_of(b"result"))])
    assert not ledger.is_done(source, output, None)  # killed before the move
    atomic.write_atomically(output, b"result")
    assert ledger.is_done(source, output, None)
    assert ledger.is_done(source, output, "r")
    assert not ledger.is_done(source, output, "stricter")
    os.utime(source, ns=(2**62, 2**62))
    assert not ledger.is_done(source, output, None)
    os.utime(source, ns=(0, 0))
    output.write_bytes(b"changed")
    assert not ledger.is_done(source, output, None) and not ledger.owns(output)


def test_journal_survives_a_kill_in_the_middle_of_a_line(tree):
    path = tree / "out" / "report.json"
    ledger = state.Ledger(path)
    made_with = {"model": {}, "settings": {"seed": 1}, "versions": {}}
    ledger.add_run("r", made_with | {"recognizers": []})
    ledger.add([record("a", "a.jpg")])
    ledger.add([record("b", "b.jpg")])
    journal = state.journal_of(path)
    journal.write_bytes(journal.read_bytes()[:-20])
    again = state.Ledger(path)
    assert list(again.records) == ["a.jpg"] and again.runs["r"]["settings"]
    again.records_of(path.parent / "a.jpg")
    again.close()
    content = json.loads(path.read_text())
    assert content["schema"] == schema.SCHEMA and "r" in content["runs"]
    assert [file["output"] for file in content["files"]] == ["a.jpg"]


def test_report_is_this_runs_and_what_was_written_stays_known(tree):
    """Also when the report is gone: it is for people, and they move it."""
    path = tree / "out" / "report.json"
    for name in ("a.jpg", "b.jpg"):
        ledger = state.Ledger(path)
        ledger.add([record(name, name, sha256=atomic.hash_of(b"result"))])
        atomic.write_atomically(path.parent / name, b"result")
        ledger.close()
        files = json.loads(path.read_text())["files"]
        assert [file["output"] for file in files] == [name]
    path.unlink()
    later = state.Ledger(path)
    assert later.owns(path.parent / "a.jpg") and later.owns(path.parent / "b.jpg")
    assert later.content()["files"] == []


def test_report_without_a_journal_is_still_read(tree):
    """Earlier versions kept what they knew there."""
    path = tree / "out" / "report.json"
    ledger = state.Ledger(path)
    ledger.add([record("a", "a.jpg")])
    ledger.close()
    state.journal_of(path).unlink()
    assert list(state.Ledger(path).records) == ["a.jpg"]


@pytest.mark.parametrize("content", ["{}", "[]", "no json"])
def test_foreign_report_is_not_overwritten(tree, content):
    (tree / "report.json").write_text(content)
    with pytest.raises(ValueError, match="no report of id2face"):
        state.Ledger(tree / "report.json")


def test_failed_write_leaves_nothing(tree, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_atomically(tree / "out" / "a.jpg", b"x")
    assert not list((tree / "out").iterdir())
