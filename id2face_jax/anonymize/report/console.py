"""What a run says on the terminal when it ends, and its exit code.

Refusals and results of other settings are told on stderr, also to those who want no
summary. Leaves the report's files to `batch.state`.
"""

import pathlib
import sys
from collections.abc import Sequence

from id2face_jax.anonymize.report import schema
from id2face_jax.anonymize.report.record import FileRecord

REFUSED = 3  # the exit code


def print_summary(
    records: Sequence[FileRecord],
    run: str,
    report: pathlib.Path,
    seconds: float,
    *,
    notes: Sequence[str] = (),
    quiet: bool,
) -> int:
    """Says what became of the files; returns REFUSED if one was, else 0.

    Args:
      records: of all files of the run, also those done before.
      run: its name in the records; empty if nothing was done.
      report: the file that they are in.
      seconds: that it took.
      notes: what else there is to say.
      quiet: nothing on stdout.
    """
    refused = [record for record in records if record.state == "refused"]
    for record in refused:
        print(
            _printable(f"refused {record.input}: {record.message}"),
            file=sys.stderr,
        )
    done = [record for record in records if record.output_sha256]
    if num := sum(record.run != run for record in done) if run else 0:
        print(
            f"{num} files were done before with other settings or weights and stay as "
            "they are (--skip-existing): what these settings hide may be seen there",
            file=sys.stderr,
        )
    if not quiet:
        for record in records:
            if record.flicker:
                print(_printable(_steadiness(record)))
        print(_printable(f"{_summary(records)} in {seconds:.1f} s; see {report}"))
        for note in notes:
            print(_printable(note))
    return REFUSED if refused else 0


def _summary(records: Sequence[FileRecord]) -> str:
    totals = schema.totals(records)
    files, faces = (
        ", ".join(f"{count} {state}" for state, count in totals[kind].items() if count)
        for kind in ("files", "faces")
    )
    return f"{len(records)} files: {files}; faces: {faces or 'none'}"


def _steadiness(record: FileRecord) -> str:
    flicker = record.flicker
    return (
        f"flicker of {record.input} from frame to frame: embedding drift "
        f"{flicker['drift']:.3f} (source {flicker['drift_source']:.3f}), warp error "
        f"{flicker['warp']:.1f} gray levels (source {flicker['warp_source']:.1f})"
    )


def _printable(text: str) -> str:
    # Names of files may be no UTF-8, or more than the terminal can show.
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)
