"""Measures how anonymous and how useful anonymized faces are, against controls.

PEOPLE is a folder of records, or one of photos as PERSON/PHOTO.jpg; default: the people
of the split "test" in runs/records/lfw. Writes evaluation.json, evaluation.md and
report.html to --out; the same command goes on where a stopped one was. Exit code: 0
measured and passed; 1 an error; 2 wrong usage; 3 measured and failed, because photos
were passed through or a recognizer is fed wrongly.
"""

import argparse
import pathlib

from id2face_jax.commands import options

DEFAULT_RECORDS = "runs/records/lfw"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares people, methods, networks and how the generator is sampled."""
    parser.add_argument(
        "people",
        nargs="?",
        default=DEFAULT_RECORDS,
        metavar="PEOPLE",
        help="Evaluate these records, or photos as PERSON/PHOTO.jpg.",
    )
    options.add_out(parser, "Write results to this folder.", "runs/evaluation")
    parser.add_argument(
        "--photos",
        metavar="DIR",
        help="Anonymize these full photos, that the records were prepared from.",
    )
    parser.add_argument("--split", default="test", help="Take this split of records.")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="Take so many photos at most; people stay whole.",
    )
    options.add_seed(parser)
    parser.add_argument(
        "--methods",
        metavar="NAME,NAME",
        help="Compare these: anonymize, id2face, keep, latent, no-oim, null, own, "
        "swap, pixelate, blur, black, identity. (default: all but keep, latent and "
        "own)",
    )
    parser.add_argument(
        "--attacks",
        action="store_true",
        help="Try attackers who know the method, too.",
    )
    _add_networks(parser.add_argument_group("networks that measure, as ONNX files"))
    group = parser.add_argument_group("generator")
    options.add_checkpoint(group)
    options.add_steps(group)
    options.add_strength(group, 0, 180)
    group.add_argument(
        "--batch-size",
        type=int,
        default=16,
        metavar="N",
        help="Draw so many faces at once; changes no figure.",
    )


def _add_networks(group) -> None:
    group.add_argument(
        "--recognizer",
        action="append",
        default=[],
        metavar="FILE",
        help="Ask another recognizer beside the built-in one. May be repeated.",
    )
    group.add_argument(
        "--pose",
        action="append",
        default=[],
        metavar="FILE",
        help="Read head poses with FSA-Net; repeated files are averaged.",
    )
    group.add_argument("--expression", metavar="FILE", help="Read seven expressions.")
    group.add_argument(
        "--second-detector", metavar="FILE", help="Look for faces with YuNet, too."
    )


def _what_to_measure(args: argparse.Namespace):
    """(methods, folder of full photos or None, methods left out and why)."""
    from id2face_jax.evaluation import setup
    from id2face_jax.evaluation.methods import anonymize, catalog
    from id2face_jax.evaluation.people import WITHOUT_PHOTOS

    people = pathlib.Path(args.people)
    photos = None if setup.is_records(people) else people
    if args.photos:
        photos = pathlib.Path(args.photos)
    if args.methods:
        names = args.methods.split(",")
        catalog.check_names(names)
        return names, photos, {}
    if photos is not None:
        return catalog.DEFAULT, photos, {}
    names = [name for name in catalog.DEFAULT if name != anonymize.NAME]
    return names, None, {anonymize.NAME: WITHOUT_PHOTOS}


def run(args: argparse.Namespace) -> int:
    """Evaluates; returns 3 where the evaluation failed."""
    from id2face_jax.settings import preflight

    preflight.check_split(args.people, args.split, "--split SPLIT")
    from id2face_jax.anonymize.pipeline.generator import use_compilation_cache
    from id2face_jax.evaluation import runner, setup
    from id2face_jax.evaluation.methods import anonymize, catalog
    from id2face_jax.evaluation.methods import generator as generators
    from id2face_jax.evaluation.people import open_people
    from id2face_jax.evaluation.report import files

    if args.limit is not None and args.limit < 2:
        raise ValueError(f"--limit is {args.limit}; use 2 photos or more")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size is {args.batch_size}; use 1 or more")
    names, photos, left_out = _what_to_measure(args)
    use_compilation_cache()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    generator = None
    if any(name in generators.GENERATOR for name in names):
        generator = setup.open_generator(
            args.checkpoint, args.steps, args.strength, args.batch_size
        )
    anonymizer = None
    if anonymize.NAME in names:
        anonymizer = setup.open_anonymizer(
            args.checkpoint, args.steps, args.strength, args.seed
        )
    records, split = setup.find_people(
        pathlib.Path(args.people), args.split, out, generator
    )
    context = setup.make_context(
        open_people(records, split, args.limit, args.seed, photos),
        out / "cache",
        recognizers=args.recognizer,
        pose=args.pose,
        expression=args.expression,
        second_detector=args.second_detector,
    )
    rows = catalog.make_methods(names, context.people, generator, anonymizer)
    result = runner.evaluate(
        context,
        rows,
        generator,
        path=args.people,
        split=split,
        with_attacks=args.attacks,
        left_out=left_out,
    )
    files.write_all(result, context, rows, generator, out)
    runner.print_states(result)
    runner.print_failures(result)
    print(f"results are in {out}: evaluation.json, evaluation.md, report.html")
    return 0 if result["passed"] else 3
