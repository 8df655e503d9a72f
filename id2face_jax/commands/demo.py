"""Anonymizes the demo portraits: pictures before and after, and a report.

The portrait is scikit-image's public-domain `astronaut`; it stands alone, twice, turned
and small.
"""

import argparse
import pathlib

from id2face_jax.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --out, --checkpoint and --seed."""
    options.add_out(parser, "Write pictures and report to this folder.", "demo")
    options.add_checkpoint(parser)
    options.add_seed(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the demonstration; exit code 3 if a picture was refused."""
    from id2face_jax import demo
    from id2face_jax.anonymize.pipeline import generator
    from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
    from id2face_jax.anonymize.pipeline.options import FaceOptions

    generator.use_compilation_cache()
    anonymizer = Anonymizer.from_pretrained(
        args.checkpoint, settings=FaceOptions(seed=args.seed)
    )
    out = pathlib.Path(args.out)
    records = demo.run(anonymizer, out)
    print(demo.table(records))
    print(f"pictures: {out}/before, {out}/after, {out}/sheet.png; {out}/report.json")
    return 3 if any(record.state == "refused" for record in records) else 0
