"""The record of what was written where, which outlives a kill.

A run appends one line a file to a journal *before* it moves the file into place. So
whatever stands in the output folder after a `kill -9` is either recorded, byte for byte
(by its hash), or is not ours. The journal is hidden, knows all runs into the folder,
and stays; report.json is about the inputs of the last run alone, for people. Owns both
files, and the rule when a result counts as done. Leaves the content of a record to
`report.schema` and `runner`.
"""

import contextlib
import datetime
import json
import os
import pathlib
from collections.abc import Sequence

from id2face_jax import atomic
from id2face_jax.anonymize.batch import shards
from id2face_jax.anonymize.report import html, schema
from id2face_jax.anonymize.report.record import FileRecord

REPORT_NAME, DRY_RUN_NAME = "report.json", "dry-run.json"


class Ledger:
    """Records of the files of one report, by output.

    It also knows what earlier runs and other shards wrote, so that their results are
    ours and done. The report lists what this run meets, done before or now.
    """

    def __init__(self, path: str | os.PathLike, shard: shards.Shard | None = None):
        """Args:

        path: of the whole run's report; reports and journals there are read.
        shard: of the run.

        Raises ValueError if a file is there that is no report of ours.
        """
        whole = pathlib.Path(path).absolute()
        self.path = shard.report_of(whole) if shard else whole
        self._journal = journal_of(self.path)
        self.records: dict[str, FileRecord] = {}
        self.runs: dict[str, dict] = {}
        self.run = ""  # the one in work
        # Files of a dataset that are no pictures: label files, archives.
        self._sidecars: dict[str, dict] = {}
        self._members: dict[str, set[str]] = {}  # archive -> keys of its records
        self._listed: set[str] = set()  # keys of what this run met
        self.left_out: list[str] = []  # what it met and did not copy, for the report
        if self.path.exists() and _read_report(self.path) is None:
            raise ValueError(
                f"{self.path} exists and is no report of id2face; move it away or "
                "choose another --report"
            )
        for other in _by_age({whole, *shards.reports_of(whole)} - {self.path}):
            self._read(other)
        self._read(self.path)
        self._listed.clear()

    def _read(self, path: pathlib.Path) -> None:
        content = _read_report(path) if path.is_file() else None
        for line in [content or {}, *_read_journal(journal_of(path))]:
            self._take(line)

    def _take(self, line: dict) -> None:
        """Takes over what a report or a line of a journal says."""
        self.runs |= line.get("runs", {})
        for sidecar in line.get("sidecars", ()):
            key = sidecar["output"]
            for member in self._members.pop(key, ()):
                self.records.pop(member, None)
            self.records.pop(key, None)
            self._sidecars[key] = sidecar
            self._listed.add(key)
        for record in map(FileRecord.from_json, line.get("files", ())):
            key = _key(record)
            self.records[key] = record
            self._listed.add(key)
            for folder in map(str, pathlib.PurePath(key).parents):
                if folder in self._sidecars:
                    self._members.setdefault(folder, set()).add(key)

    def relative(self, output: pathlib.Path) -> str:
        """The name by which the report knows an output."""
        return os.path.relpath(output.absolute(), self.path.parent)

    def is_done(
        self, source: pathlib.Path, output: pathlib.Path, run: str | None
    ) -> bool:
        """Whether `output` is, byte for byte, our result of the source as it is.

        run: the name of what it must be made with; None is anything.
        """
        return (
            self.owns(output)
            and source.stat().st_mtime_ns <= output.stat().st_mtime_ns
            and (run is None or self._runs_of(output) == {run})
        )

    def _runs_of(self, output: pathlib.Path) -> set[str]:
        key = self.relative(output)
        keys = self._members.get(key, {key})
        return {self.records[each].run for each in keys if each in self.records}

    def owns(self, output: pathlib.Path) -> bool:
        """Whether the file at `output` is one that we wrote and nobody changed."""
        key = self.relative(output)
        if key in self._sidecars:
            expected = self._sidecars[key]["output_sha256"]
        else:
            expected = self.records[key].output_sha256 if key in self.records else None
        if expected is None or not output.is_file():
            return False
        return expected == atomic.hash_of_file(output)

    def check_replaceable(self, output: pathlib.Path, overwrite: bool) -> None:
        """Raises ValueError if a file is there that is not ours to replace."""
        if output.exists() and not overwrite and not self.owns(output):
            raise ValueError(
                f"{output} exists and is no result of id2face; --overwrite would "
                "replace it"
            )

    def remove(self, output: pathlib.Path) -> None:
        """Takes away a result of an earlier run that this one does not stand by."""
        if self.owns(output):
            output.unlink()

    def records_of(self, output: pathlib.Path) -> list[FileRecord]:
        """The records of a done output, which the report lists from now on."""
        key = self.relative(output)
        keys = sorted(self._members.get(key, {key}))
        self._listed |= {key, *keys}
        return [self.records[each] for each in keys]

    def add(self, records: Sequence[FileRecord], sidecar: dict | None = None) -> None:
        """Takes records to the journal, before their output is moved in place.

        Args:
          records: of a file, or of the pictures of an archive.
          sidecar: of the archive, or of a label file: input, output, output_sha256,
            and what it has `dropped`.
        """
        line = {"files": [record.to_json() for record in records]}
        if sidecar is not None:
            line["sidecars"] = [sidecar]
        self._take(line)
        self._append(line)

    def add_run(self, run: str, made_with: dict) -> None:
        """Says what the records of `run`, from now on, are made with."""
        self.run = run
        if run not in self.runs:
            self._append({"runs": {run: made_with}})
        self.runs[run] = made_with

    def _append(self, line: dict) -> None:
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        with open(self._journal, "a", encoding="ascii") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def content(self) -> dict:
        """The report: schema, time (UTC), totals, runs, and files in order of names.

        And if there are any, `sidecars`, label files and archives that were written,
        and `left_out`, files that were not copied.
        """
        files = [r for key, r in sorted(self.records.items()) if key in self._listed]
        now = datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds")
        content = {"schema": schema.SCHEMA, "written": now}
        content |= {"totals": schema.totals(files)}
        content |= self._known(files)
        sidecars = [
            sidecar
            for key, sidecar in sorted(self._sidecars.items())
            if sidecar["output_sha256"] and key in self._listed
        ]
        more = {"sidecars": sidecars, "left_out": self.left_out}
        return content | {name: value for name, value in more.items() if value}

    def _known(self, files: Sequence[FileRecord]) -> dict:
        used = {record.run for record in files}
        return {
            "runs": {run: self.runs[run] for run in sorted(used) if run in self.runs},
            "files": [record.to_json() for record in files],
        }

    def close(self) -> None:
        """Writes the report, also as a page, and the journal anew, each record once."""
        content = self.content()
        text = json.dumps(content, indent=1) + "\n"
        atomic.write_atomically(self.path, text.encode("ascii"))
        page = html.page(content, self.path.parent)
        atomic.write_atomically(self.path.with_suffix(".html"), page)
        known = {"sidecars": list(self._sidecars.values())}
        known |= self._known(list(self.records.values()))
        line = json.dumps(known) + "\n"
        atomic.write_atomically(self._journal, line.encode("ascii"))


def journal_of(path: pathlib.Path) -> pathlib.Path:
    """Where the journal of a report stands."""
    return path.with_name(f".{path.name}.journal")


def outputs_in(folder: pathlib.Path) -> set[pathlib.Path]:
    """Absolute paths of all results that the reports in a folder list."""
    records = []
    wholes = (folder / REPORT_NAME, folder / DRY_RUN_NAME)
    for path in (*wholes, *(p for whole in wholes for p in shards.reports_of(whole))):
        content = _read_report(path) if path.is_file() else None
        for line in [content or {}, *_read_journal(journal_of(path))]:
            records += [*line.get("files", ()), *line.get("sidecars", ())]
    return {folder.absolute() / r["output"] for r in records if r["output_sha256"]}


def _by_age(paths: set[pathlib.Path]) -> list[pathlib.Path]:
    """Oldest first; what has only a journal yet is newest."""
    ages = {
        path: path.stat().st_mtime_ns if path.is_file() else 2**63 for path in paths
    }
    return sorted(paths, key=lambda path: (ages[path], path))


def _key(record: FileRecord) -> str:
    # An input without an output of its own is known by its own name.
    return record.output or f"input:{record.input}"


def _read_report(path: pathlib.Path) -> dict | None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, OSError):
        return None
    is_ours = isinstance(content, dict) and content.get("schema") in schema.READ
    return content if is_ours else None


def _read_journal(path: pathlib.Path) -> list[dict]:
    if not path.is_file():
        return []
    lines = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # the line at which a run was killed
            lines.append(json.loads(line))
    return lines
