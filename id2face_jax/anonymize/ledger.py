"""The record of what was written where, which outlives a kill.

A run appends one line a file to a journal *before* it moves the file into place; at its
end the journal becomes report.json. So whatever stands in the output folder after a
`kill -9` is either recorded, byte for byte (by its hash), or is not ours. Owns both
files, and the rule when a result counts as done. Leaves the content of a record to
`report` and `files`.
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

from id2face_jax.anonymize import report, report_page

REPORT_NAME, DRY_RUN_NAME = "report.json", "dry-run.json"


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all, also if the power goes.

    The part file has a fixed name: the one of a killed run is overwritten by the next.
    """
    with part_of(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def part_of(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file to write to, which takes the place of `path` if all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.id2face-part")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except Exception:
        part.unlink(missing_ok=True)
        raise


class Ledger:
    """Records of the files of one report, by output."""

    def __init__(self, path: str | os.PathLike):
        """path: of the report; it and its journal are read if they are there.

        Raises ValueError if a file is there that is no report of ours.
        """
        self.path = pathlib.Path(path).absolute()
        self._journal = journal_of(self.path)
        self.records: dict[str, dict] = {}
        self.runs: dict[str, dict] = {}
        if self.path.exists():
            content = _read_report(self.path)
            if content is None:
                raise ValueError(
                    f"{self.path} exists and is no report of id2face; move it away or "
                    "choose another --report"
                )
            self.runs = content["runs"]
            self.records = {_key(record): record for record in content["files"]}
        for line in _read_journal(self._journal):
            self.runs |= line.get("runs", {})
            self.records |= {_key(record): record for record in line.get("files", ())}

    def relative(self, output: pathlib.Path) -> str:
        """The name by which the report knows an output."""
        return os.path.relpath(output.absolute(), self.path.parent)

    def is_done(self, source: pathlib.Path, output: pathlib.Path) -> bool:
        """Whether `output` is, byte for byte, our result of the source as it is."""
        return self.owns(output) and (
            source.stat().st_mtime_ns <= output.stat().st_mtime_ns
        )

    def owns(self, output: pathlib.Path) -> bool:
        """Whether the file at `output` is one that we wrote and nobody changed."""
        record = self.records.get(self.relative(output))
        if record is None or not record["output_sha256"] or not output.is_file():
            return False
        return record["output_sha256"] == hash_of_file(output)

    def add(self, record: dict) -> None:
        """Takes a file's record to the journal, before its output is moved in place."""
        self.records[_key(record)] = record
        self._append({"files": [record]})

    def add_run(self, run: str, made_with: dict) -> None:
        """Says what the records of `run` were made with."""
        self.runs[run] = made_with
        self._append({"runs": {run: made_with}})

    def _append(self, line: dict) -> None:
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        with open(self._journal, "a", encoding="ascii") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def content(self) -> dict:
        """The report: schema, totals, runs and files, in the order of their names."""
        files = [self.records[key] for key in sorted(self.records)]
        used = {record["run"] for record in files}
        return {
            "schema": report.SCHEMA,
            "totals": report.totals(files),
            "runs": {run: self.runs[run] for run in sorted(used) if run in self.runs},
            "files": files,
        }

    def close(self) -> None:
        """Writes the report, also as a page, and removes the journal."""
        content = self.content()
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(self.path, text.encode("ascii"))
        write_atomically(self.path.with_suffix(".html"), report_page.page(content))
        self._journal.unlink(missing_ok=True)


def hash_of(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def hash_of_file(path: pathlib.Path) -> str:
    """SHA-256 in hex of a file of any size."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def journal_of(path: pathlib.Path) -> pathlib.Path:
    """Where the journal of a report stands."""
    return path.with_name(f".{path.name}.journal")


def outputs_in(folder: pathlib.Path) -> set[pathlib.Path]:
    """Absolute paths of all results that the reports in a folder list."""
    records = []
    for path in (folder / REPORT_NAME, folder / DRY_RUN_NAME):
        content = _read_report(path) if path.is_file() else None
        records += content["files"] if content else []
        for line in _read_journal(journal_of(path)):
            records += line.get("files", [])
    return {folder.absolute() / r["output"] for r in records if r["output_sha256"]}


def _key(record: dict) -> str:
    # An input without an output of its own is known by its own name.
    return record["output"] or f"input:{record['input']}"


def _read_report(path: pathlib.Path) -> dict | None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, OSError):
        return None
    is_ours = isinstance(content, dict) and content.get("schema") == report.SCHEMA
    return content if is_ours else None


def _read_journal(path: pathlib.Path) -> list[dict]:
    if not path.is_file():
        return []
    lines = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):  # the line at which a run was killed
            lines.append(json.loads(line))
    return lines
