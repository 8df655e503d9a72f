"""A run over files: each is worked on, recorded, and put in place, or refused.

A `Worker` turns jobs into part files and products; `commit` records a product and moves
its part into place. So results may be made by any number of workers, also on other
machines and more than once, and still each is written once and whole. Owns both, and
the run in one process. Leaves which files there are to `discovery`, the record to
`state`, pictures to `pictures`, and faces to `anonymizer`.
"""

import dataclasses
import hmac
import json
import os
import pathlib
import time
from collections.abc import Iterable, Iterator, Sequence

import tqdm

from id2face_jax.anonymize.batch import archives, pictures
from id2face_jax.anonymize.batch.discovery import Job
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.batch.pictures import Item
from id2face_jax.anonymize.batch.state import Ledger
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.report import schema
from id2face_jax.anonymize.report.record import FileRecord
from id2face_jax.anonymize.video import container, pipeline
from id2face_jax.atomic import discard, hash_of_file, part_path, write_part
from id2face_jax.labels import webdataset


@dataclasses.dataclass(frozen=True)
class Product:
    """What a worker made of a job.

    Attributes:
      records: of the file, or of each picture in an archive.
      sha256: of the part file; None if there is nothing to put in place.
      dropped: samples that an archive has lost; None for other files.
    """

    records: list[FileRecord]
    sha256: str | None = None
    dropped: list[str] | None = None


class Worker:
    """Callable: jobs in, their products out. Writes nothing but part files.

    Attributes:
      made_with: models and settings, as the report lists them.
      run_id: the name of `made_with`.
    """

    def __init__(
        self,
        anonymizer: Anonymizer,
        options: FileOptions,
        people: People,
        quiet: bool = False,
    ):
        """quiet: no progress bars of videos on stderr."""
        self._quiet = quiet
        self._anonymizer, self._options, self._people = anonymizer, options, people
        settings = dataclasses.asdict(options) | {"people": people.rule}
        for name in ("overwrite", "skip_existing", "batch_size"):
            del settings[name]  # they change no result
        self.made_with = schema.run_record(anonymizer.tools, **settings)
        # Another key, or another person to keep, is another run; the report, in which
        # this name stands, tells neither.
        content = json.dumps(self.made_with, sort_keys=True).encode() + people.tag
        secret = anonymizer.tools.settings.key or b"no key"
        self.run_id = hmac.digest(secret, content, "sha256").hex()[:12]

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Product]:
        """The product of each job, in order; pictures are worked on together."""
        if len(jobs) == 1 and is_large(jobs[0]):
            yield self._large(jobs[0])
        else:
            yield from self._pictures(jobs)

    def _pictures(self, jobs: Sequence[Job]) -> Iterator[Product]:
        items = [
            Item(job.source, job.output.suffix, job.read_picture, job.size)
            for job in jobs
        ]
        results = pictures.results(self._anonymizer, items, self._options, self._people)
        for job, (record, content) in zip(jobs, results, strict=True):
            record = record.replace(input=str(job.source), run=self.run_id)
            try:
                if content is not None:
                    write_part(job.output, content)
            except OSError as error:
                record = record.refused(error)
            yield Product([record], record.output_sha256)

    def _large(self, job: Job) -> Product:
        start = time.perf_counter()
        make = self._video if is_video(job) else self._archive
        try:
            if self._options.dry_run or job.output.suffix.lower() not in _LARGE:
                raise ValueError(
                    f"a video becomes a video, {' '.join(container.SUFFIXES)}, an "
                    "archive an archive, and a dry run shows photos alone"
                )
            part = part_path(job.output)
            part.parent.mkdir(parents=True, exist_ok=True)
            product = make(job, part)
        except pictures.ERRORS as error:
            product = refusal(job, error)
        seconds = round(time.perf_counter() - start, 3)
        records = [
            record.replace(
                input=str(job.source),
                run=self.run_id,
                seconds=record.seconds or seconds,
            )
            for record in product.records
        ]
        return dataclasses.replace(product, records=records)

    def _video(self, job: Job, part: pathlib.Path) -> Product:
        tally, flicker, remark = pipeline.anonymize(
            self._anonymizer.tools,
            job.source,
            part,
            job.output.suffix.lower(),
            self._options.video,
            namer=self._people.namer(job.source),
            chooser=self._people.chooser,
            quiet=self._quiet,
        )
        record = FileRecord(
            tally.state,
            remark,
            tuple(tally.records()),
            frames=tally.num_frames,
            flicker=flicker,
        )
        if tally.state == "no_face":
            record = pictures.without_face(record, self._options)
            if self._options.on_no_face == "skip":
                return Product([record])
        record = record.replace(output_sha256=_synced_hash(part))
        return Product([record], record.output_sha256)

    def _archive(self, job: Job, part: pathlib.Path) -> Product:
        records, dropped, num_written = archives.anonymize(
            self._anonymizer, job.source, part, self._options, self._people
        )
        return Product(records, _synced_hash(part) if num_written else None, dropped)


_LARGE = (*container.SUFFIXES, *webdataset.SUFFIXES)


def _synced_hash(part: pathlib.Path) -> str:
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    return hash_of_file(part)


def is_video(job: Job) -> bool:
    """Whether the input is a video, by its suffix."""
    return job.source.suffix.lower() in container.SUFFIXES


def is_archive(job: Job) -> bool:
    """Whether the input is an archive, by its suffix."""
    return job.source.suffix.lower() in webdataset.SUFFIXES


def is_large(job: Job) -> bool:
    """Whether the input is worked on alone: a video or an archive, by its suffix."""
    return job.source.suffix.lower() in _LARGE


def groups(jobs: Iterable[Job], size: int) -> Iterator[list[Job]]:
    """Jobs as a worker takes them: pictures by `size`, then each large file alone."""
    jobs = list(jobs)
    small = [job for job in jobs if not is_large(job)]
    yield from (small[i : i + size] for i in range(0, len(small), size))
    yield from ([job] for job in jobs if is_large(job))


def begin(
    jobs: Sequence[Job], ledger: Ledger, options: FileOptions, run: str
) -> tuple[list[Job], list[FileRecord]]:
    """The jobs that are left to do, and the records of those that are not.

    Those are done already, or refused at once. A result of other settings is not done:
    what these hide may be seen in it.

    run: the name of what results are made with, see `Worker`.
    """
    todo, records = [], []
    for job in jobs:
        try:
            if _is_done(job, ledger, options, run):
                records += ledger.records_of(job.output)
                continue
            _check(job, ledger, options)
        except (ValueError, OSError) as error:
            records += commit(job, refusal(job, error), ledger)
        else:
            todo.append(job)
    return todo, records


def _is_done(job: Job, ledger: Ledger, options: FileOptions, run: str) -> bool:
    if options.overwrite or job.error or not job.source.is_file():
        return False
    made_with = None if options.skip_existing else run
    return ledger.is_done(job.source, job.output, made_with)


def _check(job: Job, ledger: Ledger, options: FileOptions) -> None:
    """Raises ValueError if the job cannot be begun."""
    if job.error:
        raise ValueError(f"{job.source.name} {job.error}")
    if job.source.exists() and not job.source.is_file():
        # To open a pipe is to wait for ever; a device has no end.
        raise ValueError(f"{job.source.name} is a pipe or a device, no file")
    ledger.check_replaceable(job.output, options.overwrite)


def refusal(job: Job, error: Exception, run_id: str = "") -> Product:
    """The product of a job that no worker could or should do."""
    record = FileRecord(input=str(job.source), run=run_id).refused(error)
    dropped = [] if is_archive(job) and not job.error else None
    return Product([record], dropped=dropped)


def commit(job: Job, product: Product, ledger: Ledger) -> list[FileRecord]:
    """Records a product and puts its result in place; returns the records."""
    output = None if job.error else ledger.relative(job.output)
    records = [_placed(record, output) for record in product.records]
    archive = None
    if product.dropped is not None:
        archive = {"input": str(job.source), "output": output}
        archive |= {"output_sha256": product.sha256, "dropped": product.dropped}
    if product.sha256 is None:
        if not job.error:
            ledger.remove(job.output)
            discard(part_path(job.output))
        ledger.add(records, archive)
        return records
    ledger.add(records, archive)
    try:
        os.replace(part_path(job.output), job.output)
    except OSError as error:
        return commit(job, refusal(job, error, records[0].run), ledger)
    return records


def _placed(record: FileRecord, output: str | None) -> FileRecord:
    """The record with its output as the report names it."""
    member = record.output
    return record.replace(output=f"{output}/{member}" if member else output)


def run(
    anonymizer: Anonymizer,
    jobs: Sequence[Job],
    ledger: Ledger,
    options: FileOptions,
    people: People,
    quiet: bool = False,
) -> list[FileRecord]:
    """Works through all jobs and returns their records, those done before first.

    quiet: no progress bar on stderr.
    """
    worker = Worker(anonymizer, options, people, quiet)
    ledger.add_run(worker.run_id, worker.made_with)
    todo, records = begin(jobs, ledger, options, worker.run_id)
    done = len(jobs) - len(todo)
    with tqdm.tqdm(
        desc="files", total=len(jobs), initial=done, unit="file", disable=quiet
    ) as bar:
        for group in groups(todo, options.batch_size):
            for job, product in zip(group, worker(group), strict=True):
                records += commit(job, product, ledger)
                bar.update()
    return records
