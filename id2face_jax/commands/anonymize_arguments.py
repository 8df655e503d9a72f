"""The options of `id2face anonymize`, by what they are about; they do nothing."""

import argparse

from id2face_jax.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares inputs, output, and FaceOptions, FileOptions and People."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="Photos, videos, folders and patterns; folders with all below them.",
    )
    group = parser.add_argument_group("results")
    options.add_out(
        group,
        "Write here: a file for one input, else a folder in which names are kept.",
        metavar="PATH",
    )
    group.add_argument(
        "--report",
        metavar="FILE",
        help="Write the report here. (default: report.json in the output folder)",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="End with exit code 3 also if files of no known kind were left out.",
    )
    group.add_argument(
        "--quiet", action="store_true", help="Show no progress and no summary."
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="Draw boxes round the faces found, blurred, instead of anonymizing.",
    )
    _add_face_arguments(parser.add_argument_group("new faces"))
    _add_people_arguments(parser.add_argument_group("people"))
    _add_file_arguments(parser.add_argument_group("files"))
    _add_video_arguments(parser.add_argument_group("videos"))
    _add_dataset_arguments(parser.add_argument_group("datasets and clusters"))


def _add_face_arguments(group) -> None:
    options.add_seed(group)
    options.add_strength(group, 90, 150)
    group.add_argument(
        "--appearance",
        choices=("free", "keep"),
        default="free",
        help="Draw anybody (free), or somebody of the source's apparent sex, age and "
        "skin tone (keep), so that the new face fits the body, at a price in privacy.",
    )
    options.add_steps(group)
    group.add_argument(
        "--det-thresh",
        type=float,
        default=0.2,
        metavar="SCORE",
        help="Take for a face what scores so high; low, so that none is missed.",
    )
    group.add_argument(
        "--mask-scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="Change a region so much larger than the face's own, 1 to 1.5.",
    )
    group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="Draw so many faces at once. (default: what suits the device)",
    )
    group.add_argument(
        "--on-failure",
        choices=("blur", "refuse"),
        default="blur",
        help="Do this with a face that the model cannot hide.",
    )
    options.add_checkpoint(group)
    options.add_recognizers(group)


def _add_people_arguments(group) -> None:
    who = group.add_mutually_exclusive_group()
    who.add_argument(
        "--keep",
        action="append",
        metavar="PHOTO",
        help="Leave the person on this photo as is. May be repeated.",
    )
    who.add_argument(
        "--only",
        action="append",
        metavar="PHOTO",
        help="Change the person on this photo alone. May be repeated.",
    )
    group.add_argument(
        "--key-file",
        metavar="FILE",
        help="Give the same person the same new face, with this key of `id2face key`.",
    )
    group.add_argument(
        "--person-from",
        metavar="SOURCE",
        help="With a key, read who is who from parent (folder names), filename, or a "
        ".csv with the columns file and person. (default: by similarity)",
    )
    group.add_argument(
        "--gallery",
        metavar="FILE",
        help="Keep people by similarity in this encrypted file. (default: "
        "KEY_FILE.gallery)",
    )


def _add_file_arguments(group) -> None:
    group.add_argument(
        "--on-no-face",
        choices=("copy", "refuse", "skip"),
        default="refuse",
        help="Do this with a photo in which no face is found.",
    )
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing",
        action="store_true",
        help="Leave our results as they are, also those of other settings.",
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="Redo and replace what is there."
    )
    group.add_argument(
        "--metadata",
        choices=("strip", "safe", "all"),
        default="strip",
        help="Keep no EXIF (strip), camera and date (safe), or texts and place, too "
        "(all).",
    )
    group.add_argument(
        "--aligned", action="store_true", help="Take photos for aligned face crops."
    )


def _add_video_arguments(group) -> None:
    group.add_argument(
        "--start", type=float, metavar="SECONDS", help="Write nothing before it."
    )
    group.add_argument(
        "--end", type=float, metavar="SECONDS", help="Write nothing from it on."
    )
    group.add_argument("--no-audio", action="store_true", help="Leave out the sound.")
    group.add_argument(
        "--hold",
        type=float,
        metavar="SECONDS",
        help="Blur the place of a lost face for so long at most. (default: until it is "
        "found again or the scene ends)",
    )


def _add_dataset_arguments(group) -> None:
    group.add_argument(
        "--format",
        choices=("auto", "folder", "coco", "yolo", "voc", "csv", "webdataset"),
        default="auto",
        help="Keep labels of this kind, less those of refused photos. (default: by "
        "layout, tables never)",
    )
    group.add_argument(
        "--columns",
        action="append",
        metavar="NAME",
        help="Keep this column of a table, beside those that name photos; with "
        "--format csv. May be repeated.",
    )
    group.add_argument(
        "--allow-members",
        action="append",
        metavar="SUFFIX",
        help="Pass members of a WebDataset that are no text, such as npy. May be "
        "repeated.",
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="Work on the I-th of N parts alone; a run without it joins the parts.",
    )
    group.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="Work on a Ray cluster: local, auto, or HOST:PORT.",
    )
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="Use so many workers of the cluster. (default: its GPUs, or its CPUs)",
    )
