"""Turns photos of people into records to train on: aligned faces with embeddings.

PHOTOS is a folder PERSON/PHOTO.jpg, or a flat folder where every photo is a person of
its own; several folders make one dataset. The same command again resumes. Several
machines share the work with --shard; see docs/records.md.
"""

import argparse
import pathlib


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where photos come from, and what their records are like."""
    group = parser.add_argument_group("photos and people")
    group.add_argument(
        "photos",
        nargs="*",
        type=pathlib.Path,
        metavar="PHOTOS",
        help="Folders of photos.",
    )
    group.add_argument(
        "--splits",
        type=pathlib.Path,
        metavar="CSV",
        help="Read the columns `person` and `split` (train, validation or test); 4 %% "
        "of the train people, and of those not in it, go to validation.",
    )
    group.add_argument(
        "--people",
        type=pathlib.Path,
        metavar="CSV",
        help="Read the columns `photo` (file name) and `person`, for photos without "
        "folders.",
    )
    group.add_argument(
        "--tfds",
        metavar="NAME",
        help="Take a prepared TFDS dataset in place of PHOTOS.",
    )
    group.add_argument("--data-dir", metavar="DIR", help="Find NAME of --tfds here.")
    group.add_argument(
        "--largest",
        action="store_true",
        help="Take the largest face of a photo; without it the subject must be "
        "clearly the most prominent: large and central.",
    )
    group = parser.add_argument_group("records")
    group.add_argument(
        "-o",
        "--out",
        type=pathlib.Path,
        required=True,
        metavar="RECORDS",
        help="Write to this folder, which must not exist yet.",
    )
    group.add_argument(
        "--size",
        type=int,
        default=160,
        metavar="PIXELS",
        help="Make crops with sides of so many pixels.",
    )
    group.add_argument(
        "--crop-units",
        type=float,
        default=136.0,
        metavar="UNITS",
        help="Give the crops' sides so many units of the 112-unit face template: "
        "fewer show the face larger; the built-in weights want 160.",
    )
    group.add_argument(
        "--crop-center",
        default="56,68",
        metavar="X,Y",
        help="Put this point of the template in the middle; the built-in weights want "
        "56,64.",
    )
    group.add_argument(
        "--recognizer",
        default="dlib",
        metavar="NAME|FILE",
        help="Make embeddings with dlib or an ArcFace-like ONNX file.",
    )
    group = parser.add_argument_group("work")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="Decode and detect in so many threads. (default: one a core)",
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="Do the I-th of N parts of the work (from 1) in RECORDS.partial, and "
        "write no records; the same command without --shard then does.",
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
