"""A run on a Ray cluster: workers make the results, this process commits them.

Ray Data hands groups of files to a pool of actors, each of which has loaded the models
once, and does a group again if its actor died. That is safe, since a worker writes part
files alone: only this process records and moves them, each once, after it has compared
their hashes. A file that nobody answered for is refused, so none is lost. A file that
kills its worker twice is refused, too: Ray would try it for ever. All machines must see
inputs and outputs under the same paths.
"""

import importlib.util
import logging
import os
import pathlib
import pickle
from collections.abc import Callable, Iterator, Sequence

import tqdm

from id2face_jax import extras
from id2face_jax.anonymize.batch import runner
from id2face_jax.anonymize.batch.discovery import Job
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.runner import Product, Worker
from id2face_jax.anonymize.batch.state import Ledger
from id2face_jax.anonymize.report.record import FileRecord
from id2face_jax.atomic import beside, discard, hash_of_file, part_path

_MAX_DEATHS = 2


def run(
    make_worker: Callable[[], Worker],
    jobs: Sequence[Job],
    ledger: Ledger,
    options: FileOptions,
    *,
    address: str,
    num_workers: int | None = None,
    quiet: bool = False,
) -> list[FileRecord]:
    """Works through all jobs and returns their records, those done before first.

    Args:
      make_worker: called once in each actor; it is sent there by cloudpickle.
      address: "local" starts a cluster on this machine; else as `ray.init` takes it.
      num_workers: actors; None is one for each GPU, or for each CPU without any.
      quiet: no progress bar on stderr.

    Raises ValueError if Ray is missing or the cluster fails; what was committed by then
    stays, and a further run goes on from there.
    """
    ray = _ray()
    # What is there counts as done only if it was made as a worker would make it.
    asks = ledger.records and not (options.overwrite or options.skip_existing)
    run_id = make_worker().run_id if asks else ""
    todo, records = runner.begin(jobs, ledger, options, run_id)
    for job in todo:
        discard(_mark(job))
    open_jobs = dict(enumerate(todo))
    started = not ray.is_initialized()
    try:
        if started:
            _connect(ray, address)
        done = len(jobs) - len(todo)
        with tqdm.tqdm(
            desc="files", total=len(jobs), initial=done, unit="file", disable=quiet
        ) as bar:
            for answer in _answers(ray, make_worker, todo, options, num_workers):
                ledger.add_run(answer["run"], answer["made_with"])
                for index, product in answer["products"]:
                    job = open_jobs.pop(index, None)
                    if job is not None:
                        records += _commit(job, product, ledger)
                        bar.update()
    except (ray.exceptions.RayError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ValueError(f"the Ray cluster failed: {reason[0]}") from error
    finally:
        if started:
            ray.shutdown()
    for job in open_jobs.values():
        lost = ValueError("no worker of the cluster answered for it")
        records += _commit(job, runner.refusal(job, lost), ledger)
    return records


def _ray():
    if importlib.util.find_spec("ray") is None:
        raise ValueError(f"--ray-address needs Ray; run: {extras.pip_line('ray')}")
    # Before the import: nothing is told to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # optional, so not at the top
    import ray.data

    return ray


def _connect(ray, address: str) -> None:
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray raises bare ones, too
        raise ValueError(
            f"no Ray cluster at {address}: {str(error).strip().splitlines()[0]}"
        ) from error


def _answers(
    ray, make_worker, todo: Sequence[Job], options: FileOptions, num_workers: int | None
) -> Iterator[dict]:
    """What the actors answer: run, made_with, and products by the job's number."""
    if not todo:
        return
    resources, num_workers = _resources(ray, num_workers)
    numbers = {job: number for number, job in enumerate(todo)}
    # Small groups towards the end of the work would be best; these are simple.
    size = max(1, min(options.batch_size, len(todo) // (4 * num_workers)))
    tasks = [
        {"task": pickle.dumps([(numbers[job], job) for job in group])}
        for group in runner.groups(todo, size)
    ]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    answers = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
        _Actor,
        fn_constructor_args=(make_worker, os.getcwd()),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=num_workers),
        **resources,
    )
    for row in answers.iter_rows():
        yield pickle.loads(row["answer"])


def _resources(ray, num_workers: int | None) -> tuple[dict, int]:
    """What an actor asks for, and how many actors there are."""
    cluster = ray.cluster_resources()
    kind = "GPU" if cluster.get("GPU", 0) >= 1 else "CPU"
    most = int(cluster.get(kind, 1))
    if num_workers is not None and num_workers > most:
        raise ValueError(
            f"--workers is {num_workers} and the cluster has {most} {kind}s; use at "
            f"most {most}"
        )
    return {"num_gpus" if kind == "GPU" else "num_cpus": 1}, num_workers or most


class _Actor:
    """Runs in a process of its own, with models of its own."""

    def __init__(self, make_worker: Callable[[], Worker], folder: str):
        """folder: that of the command, from which relative paths count."""
        os.chdir(folder)
        _bound_threads()
        self._worker = make_worker()

    def __call__(self, batch: dict) -> dict:
        answers = []
        for task in batch["task"]:
            numbers, jobs = zip(*pickle.loads(task), strict=True)
            products = list(_products(self._worker, jobs))
            answer = {
                "run": self._worker.run_id,
                "made_with": self._worker.made_with,
                "products": list(zip(numbers, products, strict=True)),
            }
            answers.append(pickle.dumps(answer))
        return {"answer": answers}


def _bound_threads() -> None:
    """Keeps XLA and OpenCV to one core: the others have workers of their own.

    Ray does so for OpenMP before the process starts. XLA reads NPROC when it makes its
    first program.
    """
    import cv2

    os.environ["NPROC"] = "1"
    cv2.setNumThreads(1)


def _products(worker: Worker, jobs: Sequence[Job]) -> Iterator[Product]:
    """The worker's products, except of files on which workers have died.

    A mark stands beside the result while a worker is at it. If one was left, the group
    is done file by file, so that no other file is blamed.
    """
    is_first = not any(_mark(job).exists() for job in jobs)
    for group in [jobs] if is_first else [[job] for job in jobs]:
        try:
            if not is_first and _num_deaths(group[0]) >= _MAX_DEATHS:
                raise ValueError(f"{_MAX_DEATHS} workers died while they worked on it")
            for job in group:
                _add_mark(job)
        except (ValueError, OSError) as error:
            yield from (runner.refusal(job, error, worker.run_id) for job in group)
            continue
        yield from worker(group)
        for job in group:
            discard(_mark(job))


def _mark(job: Job) -> pathlib.Path:
    return beside(job.output, "tries")


def _num_deaths(job: Job) -> int:
    mark = _mark(job)
    return mark.stat().st_size if mark.exists() else 0


def _add_mark(job: Job) -> None:
    mark = _mark(job)
    mark.parent.mkdir(parents=True, exist_ok=True)
    with open(mark, "ab") as file:
        file.write(b"x")


def _commit(job: Job, product: Product, ledger: Ledger) -> list[FileRecord]:
    part = part_path(job.output)
    if product.sha256 is not None:
        is_whole = part.is_file() and hash_of_file(part) == product.sha256
        if not is_whole:
            error = ValueError(
                f"{part} is not what the worker wrote; all machines must see the "
                "output folder under the same path"
            )
            product = runner.refusal(job, error, product.records[0].run)
    records = runner.commit(job, product, ledger)
    discard(_mark(job))
    return records
