"""Anonymizes faces in photos, videos and datasets: files, patterns and folders.

Every file ends in one of four states: anonymized, fallback (a face that the model could
not hide is blurred), no_face, or refused (nothing is written). Exit code: 0 every file
is safe; 1 an error; 2 wrong usage; 3 some file was refused, or, under --strict, left
out. What was done to each face,
and how far it is from being recognized, is in report.json.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
import time

from id2face_jax.commands import anonymize_arguments as arguments
from id2face_jax.errors import UsageError

add_arguments = arguments.add_arguments


def run(args: argparse.Namespace) -> int:
    """Anonymizes; see the module's docstring for the exit code."""
    from id2face_jax.anonymize.batch import shards, state
    from id2face_jax.anonymize.pipeline import generator
    from id2face_jax.anonymize.report import console

    _check_usage(args)
    dataset = _dataset(args)
    generator.use_compilation_cache()
    start = time.perf_counter()
    shard = shards.parse(args.shard) if args.shard else None
    ledger = state.Ledger(_report_path(args), shard)
    dataset.check(ledger, args.overwrite or args.dry_run)
    jobs = dataset.jobs
    if shard:
        jobs = [j for j in jobs if shard.has(os.path.relpath(j.output, dataset.out))]
    records = _records(args, jobs, ledger)
    if not args.dry_run and not shard:
        records += dataset.finish(records, ledger, args.overwrite)
    ledger.left_out = dataset.left_out
    ledger.close()
    code = console.print_summary(
        records,
        ledger.run,
        ledger.path,
        time.perf_counter() - start,
        notes=dataset.notes(is_part=shard is not None),
        quiet=args.quiet,
    )
    if not (args.strict and dataset.left_out):
        return code
    print(
        f"--strict: {len(dataset.left_out)} files were left out, such as "
        f"{dataset.left_out[0]}; the report lists them",
        file=sys.stderr,
    )
    return console.REFUSED


def _check_out(args: argparse.Namespace) -> None:
    """Refuses a name for one result that no format has, which would become a folder."""
    from id2face_jax.anonymize.batch import discovery

    out = pathlib.Path(args.out)
    is_one = len(args.inputs) == 1 and pathlib.Path(args.inputs[0]).is_file()
    is_folder = args.out.endswith(("/", os.sep)) or out.is_dir() or not out.suffix
    if is_one and not is_folder and not discovery.is_file_name(out):
        raise UsageError(
            f"--out is {args.out}, and {out.suffix} is no format that is written here; "
            f"use one of {' '.join(discovery.SUFFIXES)}, or end a folder's name in /"
        )


def _check_usage(args: argparse.Namespace) -> None:
    _check_out(args)
    if args.person_from and not args.key_file:
        raise UsageError("--person-from is for keyed identities; give --key-file too")
    by_similarity = args.key_file and not args.person_from and not args.dry_run
    if by_similarity and (args.shard or args.ray_address or _is_webdataset(args)):
        raise UsageError(
            "who is who by similarity needs all photos as files in one process; give "
            "--person-from"
        )
    if args.columns and args.format != "csv":
        raise UsageError("--columns is for --format csv; give that, too")
    if args.workers is not None and not args.ray_address:
        raise UsageError("--workers is for --ray-address; give that, too")
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers is {args.workers}; use 1 or more")


def _is_webdataset(args: argparse.Namespace) -> bool:
    return args.format == "webdataset" or any(
        name.lower().endswith(".tar") for name in args.inputs
    )


def _dataset(args: argparse.Namespace):
    from id2face_jax.anonymize.batch import dataset, discovery

    found = dataset.open_dataset(
        args.inputs,
        args.out,
        args.format,
        keep_links=args.metadata == "all",
        columns=args.columns or (),
    )
    if not found.jobs:
        raise ValueError(
            f"no photo in {', '.join(args.inputs)}; looked for files that end in "
            f"{' '.join(discovery.SUFFIXES)}"
        )
    if args.dry_run:
        jobs = discovery.for_dry_run(found.jobs)
        found = dataclasses.replace(found, jobs=jobs)
    return found


def _records(args: argparse.Namespace, jobs, ledger):
    """The records of all jobs, from this process or from a cluster."""
    from id2face_jax.anonymize.batch import runner

    options = _file_options(args)
    if args.ray_address:
        from id2face_jax.anonymize.batch import cluster

        make_worker = functools.partial(make_worker_of, args)
        return cluster.run(
            make_worker,
            jobs,
            ledger,
            options,
            address=args.ray_address,
            num_workers=args.workers,
            quiet=args.quiet,
        )
    anonymizer = _anonymizer(args)
    who = _people(args, anonymizer.tools, jobs)
    return runner.run(anonymizer, jobs, ledger, options, who, quiet=args.quiet)


def make_worker_of(args: argparse.Namespace):
    """The worker that a machine of a cluster makes for itself, from its own files."""
    from id2face_jax.anonymize.batch import runner

    anonymizer = _anonymizer(args)
    who = _people(args, anonymizer.tools, [])
    return runner.Worker(anonymizer, _file_options(args), who, quiet=True)


def _file_options(args: argparse.Namespace):
    from id2face_jax.anonymize.batch.options import FileOptions
    from id2face_jax.anonymize.video.container import Span
    from id2face_jax.anonymize.video.options import VideoOptions

    span = Span(args.start, args.end)
    return FileOptions(
        on_no_face=args.on_no_face,
        metadata=args.metadata,
        overwrite=args.overwrite,
        skip_existing=args.skip_existing,
        aligned=args.aligned,
        dry_run=args.dry_run,
        video=VideoOptions(span, not args.no_audio, args.hold),
        members=tuple(s.lower().lstrip(".") for s in args.allow_members or ()),
    )


def _anonymizer(args: argparse.Namespace):
    from id2face_jax.anonymize.identity import keys
    from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
    from id2face_jax.anonymize.pipeline.options import FaceOptions

    settings = FaceOptions(
        seed=args.seed,
        strength=args.strength,
        appearance=args.appearance,
        det_threshold=args.det_thresh,
        mask_scale=args.mask_scale,
        max_attempts=0 if args.dry_run else FaceOptions.max_attempts,
        on_failure="blur" if args.dry_run else args.on_failure,
        key=keys.read_key(args.key_file) if args.key_file else None,
    )
    return Anonymizer.from_pretrained(
        args.checkpoint,
        recognizer=args.recognizer,
        verifier=args.verifier,
        num_steps=args.steps,
        max_batch=args.batch_size,
        settings=settings,
    )


def _report_path(args: argparse.Namespace) -> pathlib.Path:
    from id2face_jax.anonymize.batch import discovery, state

    if args.report:
        return pathlib.Path(args.report)
    name = state.DRY_RUN_NAME if args.dry_run else state.REPORT_NAME
    out = pathlib.Path(args.out)
    return (out.parent if discovery.is_file_name(out) else out) / name


def _people(args: argparse.Namespace, tools, jobs):
    from id2face_jax.anonymize.batch import people
    from id2face_jax.anonymize.identity import references

    chooser, rule, tag = None, "all", b""
    if args.keep or args.only:
        rule = "only" if args.only else "keep"
        known = references.reference(tools, args.keep or args.only)
        chooser = getattr(references, rule)(tools, known)
        tag = known.tobytes()
    if not args.key_file or args.dry_run:
        return people.People(chooser=chooser, rule=rule, tag=tag)
    if args.person_from:
        tag += references.tag_of_names(args.person_from)
        namer = references.namer_by_name(args.person_from)
        return people.People(namer, chooser, rule, tag)
    path = args.gallery or args.key_file + ".gallery"
    namer = people.namer_by_similarity(
        tools, jobs, path, aligned=args.aligned, quiet=args.quiet
    )
    return people.People(namer, chooser, rule, tag)
