"""Which dataset the inputs are, and what there is to do for it.

Owns the recognition of a format by its layout, and `Dataset`: jobs for the pictures,
and label files for the end of the run, when it is known which pictures have a result.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Collection, Sequence
from pathlib import PurePath

from id2face_jax.anonymize.batch import discovery
from id2face_jax.anonymize.batch.discovery import Found, Job
from id2face_jax.anonymize.batch.state import Ledger
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.report.record import FileRecord
from id2face_jax.atomic import hash_of, write_atomically
from id2face_jax.errors import UsageError
from id2face_jax.labels import checks, coco, table, voc, webdataset, yolo
from id2face_jax.labels.base import IsWritten, LabelFile, Labels, Pictures, field

# In the order in which they are tried. Tables are read where they are asked for alone:
# one beside photos may hold anything.
_READERS = {"coco": coco, "voc": voc, "yolo": yolo, "csv": table}
_MOST_NAMED = 10  # of what is left out
FORMATS = ("auto", "folder", *_READERS, "webdataset")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What a run has to do.

    Attributes:
      kind: one of FORMATS, but not "auto".
      jobs: pictures, videos and archives.
      root: the input folder, of labeled datasets.
      out: the output.
      files: of labels.
      left_out: files that are none of these, and are not copied; splits that are
        named and not there.
      fields: that labels have lost, once `finish` has written them.
    """

    kind: str
    jobs: list[Job]
    out: pathlib.Path
    root: pathlib.Path | None = None
    files: list[LabelFile] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)
    fields: set[str] = dataclasses.field(default_factory=set)

    def check(self, ledger: Ledger, overwrite: bool) -> None:
        """Raises ValueError if the labels could not be written at the end."""
        if not overwrite:
            _check_replaceable(self.out, self.files, ledger)

    def notes(self, is_part: bool) -> list[str]:
        """What a summary says of the labels; is_part: of a run by --shard."""
        said = []
        if self.files:
            later = ", which a run without --shard writes once all parts are done"
            told = f"labels: {self.kind}, {len(self.files)} files"
            said.append(told + later if is_part else told)
        if self.fields:
            said.append(f"dropped from the labels: {', '.join(sorted(self.fields))}")
        if self.left_out:
            few = ", ".join(self.left_out[:_MOST_NAMED])
            more = ", ..." if len(self.left_out) > _MOST_NAMED else ""
            said.append(
                f"left out, as they are no photos, videos or known labels: "
                f"{len(self.left_out)} files ({few}{more})"
            )
        return said

    def finish(
        self, records: Sequence[FileRecord], ledger: Ledger, overwrite: bool
    ) -> list[FileRecord]:
        """Writes what follows from the records; returns those of refused label files.

        Labels lose what has no result. A folder of a class stays even when it is
        empty: readers number the classes by their folders.
        """
        for job in self.jobs:
            if not job.error and not discovery.is_file_name(self.out):
                with contextlib.suppress(OSError):  # then its pictures are refused
                    job.output.parent.mkdir(parents=True, exist_ok=True)
        if self.root is None:
            return []
        written = {r.output for r in records if r.output_sha256}

        def is_written(picture: PurePath) -> bool:
            return ledger.relative(self.out / picture) in written

        refused, dropped = _write_labels(
            self.root, self.out, self.files, is_written, ledger, overwrite
        )
        self.fields.update(name for name in dropped if name.startswith(field("")))
        return refused


def _write_labels(
    root: pathlib.Path,
    out: pathlib.Path,
    files: Sequence[LabelFile],
    is_written: IsWritten,
    ledger: Ledger,
    overwrite: bool,
) -> tuple[list[FileRecord], list[str]]:
    """Writes a dataset's labels; returns records of those refused, and what went."""
    refused, lost = [], []
    for file in files:
        source, output = root / file.path, out / file.path
        key = ledger.relative(output)
        try:
            ledger.check_replaceable(output, overwrite)
            content, dropped = file.rewrite(source.read_bytes(), is_written)
            if content is not None:
                checks.check(source.name, content)
        except (ValueError, OSError) as error:
            record = FileRecord(input=str(source), output=key).refused(error)
            ledger.remove(output)
            ledger.add([record])
            refused.append(record)
            continue
        lost += dropped
        sidecar = {"input": str(source), "output": key, "dropped": dropped}
        if content is None:
            ledger.remove(output)
        digest = None if content is None else hash_of(content)
        ledger.add([], sidecar | {"output_sha256": digest})
        if content is not None:
            write_atomically(output, content)
    return refused, lost


def _check_replaceable(
    out: pathlib.Path, files: Sequence[LabelFile], ledger: Ledger
) -> None:
    """Raises ValueError if a label file could not be written at the end of a run."""
    for file in files:
        ledger.check_replaceable(out / file.path, overwrite=False)


def open_dataset(
    names: Sequence[str],
    out: str | os.PathLike,
    kind: str,
    keep_links: bool,
    columns: Collection[str] = (),
) -> Dataset:
    """The dataset that the inputs are.

    Args:
      names: files, folders and patterns; a labeled dataset is one folder, or one
        table.
      out: where results go.
      kind: one of FORMATS; "auto" recognizes it, and "folder" has no labels.
      keep_links: to the originals, in labels.
      columns: of tables that stay beside those that name pictures.

    Raises:
      UsageError: the inputs cannot be of this kind.
      ValueError: the labels cannot be understood.
    """
    out, found = pathlib.Path(out), discovery.find(names, out)
    if kind == "webdataset" or (kind == "auto" and _are_archives(found)):
        return _unlabeled("webdataset", found, names, out, webdataset.SUFFIXES)
    path = pathlib.Path(names[0])
    is_table = path.suffix.lower() in table.SUFFIXES and path.is_file()
    if is_table and kind != "csv":
        raise UsageError(
            f"{path} is a table; --format csv takes what it names, and --columns says "
            "what of it stays"
        )
    if len(names) == 1 and (path.is_dir() or is_table):
        if is_table:
            found = discovery.find([path.parent], out)
        recognized = [name for name in _READERS if name != "csv"]
        for name in recognized if kind == "auto" else [kind]:
            if name in _READERS:
                dataset = _labeled(path, found, out, name, keep_links, columns)
                if dataset is not None:
                    return dataset
    if kind in _READERS:
        raise UsageError(
            f"{', '.join(names)} is no dataset of the format "
            f"{kind} whose labels name a picture"
        )
    # Archives beside pictures are worked on, too; "folder" takes pictures alone.
    archives = webdataset.SUFFIXES if kind == "auto" else ()
    suffixes = (*discovery.SUFFIXES, *archives)
    return _unlabeled("folder", found, names, out, suffixes)


def _unlabeled(
    kind: str,
    found: Sequence[Found],
    names: Sequence[str],
    out: pathlib.Path,
    suffixes: Sequence[str],
) -> Dataset:
    jobs = discovery.jobs_of(found, names, out, suffixes)
    used = {job.source for job in jobs}
    left_out = sorted(str(item.path) for item in found if item.path not in used)
    return Dataset(kind, jobs, out, left_out=left_out)


def _are_archives(found: Sequence[Found]) -> bool:
    """Whether there are archives and nothing else that could be worked on."""
    suffixes = {item.path.suffix.lower() for item in found}
    return bool(suffixes.intersection(webdataset.SUFFIXES)) and not (
        suffixes.intersection(discovery.SUFFIXES)
    )


def _labeled(
    path: pathlib.Path,
    inside: Sequence[Found],
    out: pathlib.Path,
    kind: str,
    keep_links: bool,
    columns: Collection[str],
) -> Dataset | None:
    """The dataset with its labels; None if there are none of this format.

    Args:
      path: its folder, or one table in it.
      inside: all files of the folder.
    """
    root = path if path.is_dir() else path.parent
    jobs = {
        job.source.relative_to(root): job
        for job in discovery.jobs_of(inside, [root], out)
        if job.source != root
    }
    known = Pictures(root, jobs, images.FORMATS)
    if path.is_dir():
        named = {"columns": columns} if kind == "csv" else {}
        found = _READERS[kind].read(root, known, keep_links, **named)
    else:
        found = Labels()
        name = PurePath(path.name)
        named = table.read_table(name, root, known, keep_links, found, columns)
        jobs = {picture: jobs[picture] for picture in sorted(named)}
    if found is None or not found.files:
        return None
    if discovery.is_file_name(out) or (out.exists() and out.samefile(root)):
        raise UsageError(f"a dataset goes to a folder of its own, not to {out}")
    todo = _with_labels(jobs, found, root, out)
    used = {*jobs, *(file.path for file in found.files)} - found.maps
    left_out = []
    if path.is_dir():
        paths = sorted(item.path.relative_to(root) for item in inside)
        left_out = [str(path) for path in paths if path not in used] + found.absent
    return Dataset(kind, todo, out, root, found.files, left_out)


def _with_labels(
    jobs: dict[PurePath, Job], found: Labels, root: pathlib.Path, out: pathlib.Path
) -> list[Job]:
    todo = [
        dataclasses.replace(job, size=found.sizes.get(picture))
        for picture, job in jobs.items()
        if picture not in found.maps
    ]
    for picture, label_file in sorted(found.missing.items()):
        error = f"is named in {label_file} and is not there"
        todo.append(Job(root / picture, out / picture, error))
    return todo
