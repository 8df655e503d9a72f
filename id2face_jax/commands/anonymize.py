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

from id2face_jax.anonymize.pipeline.options import STRENGTH
from id2face_jax.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares inputs, output, and FaceOptions, FileOptions and People."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="photo or folder")
    parser.add_argument(
        "-o", "--out", required=True, help="file for one photo, else a folder"
    )
    parser.add_argument("--report", help="default: report.json in the output folder")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit code 3 also if files were left out, since they are of no known kind",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="draw boxes round the faces found, blurred, instead of anonymizing",
    )
    _add_face_arguments(parser.add_argument_group("new faces"))
    _add_people_arguments(parser.add_argument_group("people"))
    _add_file_arguments(parser.add_argument_group("files"))
    _add_video_arguments(parser.add_argument_group("videos"))
    _add_dataset_arguments(parser.add_argument_group("datasets and clusters"))


def _add_face_arguments(group) -> None:
    group.add_argument("--seed", type=int, default=0, help="default: 0")
    group.add_argument(
        "--strength",
        type=float,
        default=STRENGTH,
        metavar="DEGREES",
        help="between the old identity and the new, 90 to 150 (default: %(default)g)",
    )
    group.add_argument(
        "--appearance",
        choices=("free", "keep"),
        default="free",
        help="free: anybody (default); keep: of the source's apparent sex, age and "
        "skin tone, so that the new face fits the body, at a price in privacy",
    )
    group.add_argument("--steps", type=int, help="of diffusion; default: the model's")
    group.add_argument(
        "--det-thresh",
        type=float,
        default=0.2,
        metavar="SCORE",
        help="least score of a face; low, so that none is missed (default: 0.2)",
    )
    group.add_argument(
        "--mask-scale",
        type=float,
        default=1.0,
        help="size of the changed region, 1 to 1.5 (default: 1)",
    )
    group.add_argument(
        "--batch-size",
        type=int,
        help="faces generated at once; default: what suits the device",
    )
    group.add_argument(
        "--on-failure",
        choices=("blur", "refuse"),
        default="blur",
        help="what to do with a face that the model cannot hide (default: blur)",
    )
    group.add_argument(
        "--checkpoint", help="export or training run; default: the embedded model"
    )
    group.add_argument(
        "--recognizer",
        default="dlib",
        help="dlib or an ONNX file: the one that the model was trained on",
    )
    group.add_argument(
        "--verifier",
        metavar="ONNX",
        help="a second recognizer, which must not know a face again either",
    )


def _add_people_arguments(group) -> None:
    who = group.add_mutually_exclusive_group()
    who.add_argument(
        "--keep", action="append", metavar="PHOTO", help="of a person who stays as is"
    )
    who.add_argument(
        "--only", action="append", metavar="PHOTO", help="change this person alone"
    )
    group.add_argument(
        "--key-file",
        help="of `id2face key`: the same person gets the same new face, with this key",
    )
    group.add_argument(
        "--person-from",
        metavar="SOURCE",
        help="with a key, who is who: parent (folder names), filename, or a .csv with "
        "the columns file and person; default: by similarity",
    )
    group.add_argument(
        "--gallery",
        help="encrypted file of people, by similarity; default: KEY_FILE.gallery",
    )


def _add_file_arguments(group) -> None:
    group.add_argument(
        "--on-no-face",
        choices=("copy", "refuse", "skip"),
        default="refuse",
        help="what to do with a photo in which no face is found (default: refuse)",
    )
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave our results as they are, also those of other settings",
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="redo and replace what is there"
    )
    group.add_argument(
        "--metadata",
        choices=("strip", "safe", "all"),
        default="strip",
        help="EXIF that stays: none; camera and date; also texts and place",
    )
    group.add_argument(
        "--aligned", action="store_true", help="photos are aligned face crops"
    )


def _add_video_arguments(group) -> None:
    group.add_argument(
        "--start", type=float, metavar="SECONDS", help="write nothing before it"
    )
    group.add_argument(
        "--end", type=float, metavar="SECONDS", help="write nothing from it on"
    )
    group.add_argument("--no-audio", action="store_true", help="leave out the sound")
    group.add_argument(
        "--hold",
        type=float,
        metavar="SECONDS",
        help="blur the place of a lost face for so long at most (default: until it is "
        "found again or the scene ends)",
    )


def _add_dataset_arguments(group) -> None:
    group.add_argument(
        "--format",
        choices=("auto", "folder", "coco", "yolo", "voc", "csv", "webdataset"),
        default="auto",
        help="whose labels are kept, less those of refused photos (default: by layout, "
        "tables never)",
    )
    group.add_argument(
        "--columns",
        action="append",
        metavar="NAME",
        help="of a table that stays beside those that name photos (with --format csv)",
    )
    group.add_argument(
        "--allow-members",
        action="append",
        metavar="SUFFIX",
        help="of WebDataset members that pass though they are no text, such as npy",
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="work on the I-th of N parts alone; a run without it joins the parts",
    )
    group.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="of a Ray cluster to work on: local, auto, or HOST:PORT",
    )
    group.add_argument(
        "--workers", type=int, help="on the cluster; default: its GPUs, or its CPUs"
    )


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


def _check_usage(args: argparse.Namespace) -> None:
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
