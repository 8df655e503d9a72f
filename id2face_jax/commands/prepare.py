"""Turns photos of people into records to train on: aligned faces with embeddings.

PHOTOS is a folder PERSON/PHOTO.jpg, or a flat folder where every photo is a person of
its own; several folders make one dataset. The same command again resumes. Several
machines share the work with --shard; see docs/records.md.
"""

import argparse
import pathlib


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where photos come from, and what their records are like."""
    parser.add_argument(
        "photos", nargs="*", type=pathlib.Path, metavar="PHOTOS", help="photo folders"
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="RECORDS")
    parser.add_argument(
        "--size", type=int, default=160, help="side of the crops, pixels (default: 160)"
    )
    parser.add_argument(
        "--crop-units",
        type=float,
        default=136.0,
        metavar="UNITS",
        help="side of the crops in units of the 112-unit face template: fewer show the "
        "face larger (default: 136, as configs/base.py; the built-in weights: 160)",
    )
    parser.add_argument(
        "--crop-center",
        default="56,68",
        metavar="X,Y",
        help="the template's point in the middle of the crops (default: 56,68; the "
        "built-in weights: 56,64)",
    )
    parser.add_argument(
        "--workers", type=int, help="threads that decode and detect (default: cores)"
    )
    parser.add_argument(
        "--splits",
        type=pathlib.Path,
        metavar="CSV",
        help="columns `person` and `split` (train, validation or test); 4 %% of the "
        "train people, and of those not in it, go to validation",
    )
    parser.add_argument(
        "--people",
        type=pathlib.Path,
        metavar="CSV",
        help="columns `photo` (file name) and `person`, for photos without folders",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="do the I-th of N parts of the work (from 1) in RECORDS.partial, and "
        "write no records; the same command without --shard then does",
    )
    parser.add_argument(
        "--recognizer",
        default="dlib",
        help="what makes the embeddings: dlib, or the path of an ArcFace-like .onnx "
        "file (default: dlib)",
    )
    parser.add_argument(
        "--tfds", metavar="NAME", help="a prepared TFDS dataset in place of PHOTOS"
    )
    parser.add_argument("--data-dir", metavar="D", help="where TFDS finds NAME")
    parser.add_argument(
        "--largest",
        action="store_true",
        help="take the largest face of a photo; without it the subject must be "
        "clearly the most prominent: large and central",
    )


def _geometry(units: float, center: str):
    from id2face_jax.faces import align

    try:
        x, y = (float(part) for part in center.split(","))
    except ValueError as error:
        raise ValueError(
            f"--crop-center is {center!r}; use two numbers, such as 56,68"
        ) from error
    if not 112 <= units <= 400:
        raise ValueError(f"--crop-units is {units:g}; use 112 to 400")
    return align.Geometry(units, (x, y))


def run(args: argparse.Namespace) -> int:
    """Prepares, and prints what was kept and what was left out."""
    import os

    from id2face_jax.anonymize.batch import shards
    from id2face_jax.data import photos, prepare
    from id2face_jax.faces.embed import make_recognizer

    if bool(args.photos) == bool(args.tfds):
        raise ValueError(
            f"photos are {[str(path) for path in args.photos]} and tfds is "
            f"{args.tfds!r}; give either photo folders or --tfds NAME"
        )
    workers = os.cpu_count() if args.workers is None else args.workers
    if workers < 1:
        raise ValueError(f"workers is {workers}; use 1 or more")
    if args.size < 32 or args.size % 16:
        raise ValueError(
            f"size is {args.size}; use a multiple of 16, which the networks divide by"
        )
    shard = shards.parse(args.shard) if args.shard else None
    if args.tfds:
        found = photos.list_tfds(args.tfds, args.data_dir)
    else:
        found = photos.list_photos(args.photos)
    if args.people:
        found = photos.join_people(found, args.people)
    recognizer = make_recognizer(args.recognizer)
    crop = prepare.Crop(args.size, _geometry(args.crop_units, args.crop_center))
    options = {"crop": crop, "num_workers": workers, "largest": args.largest}
    if shard:
        part = (shard.index - 1, shard.count)
        num = prepare.share(found, args.out, recognizer, part, **options)
        print(f"{args.out}.partial: {num} of {len(found)} photos, part {args.shard}")
        return 0
    splits = photos.read_splits(args.splits) if args.splits else {}
    summary = prepare.prepare(found, args.out, recognizer, splits=splits, **options)
    print(f"{args.out}: {len(found)} photos")
    for split, count in summary["records"].items():
        print(f"  {split:<12}{count:>8} faces of {summary['people'][split]} people")
    for reason, names in summary["skipped"].items():
        print(f"  left out    {len(names):>8} {reason}, e.g. {names[0]}")
    return 0
