"""Serves a page on this computer: drop a photo, compare, save the anonymized one.

Photos are held in memory and discarded after the response; nothing is written to disk,
and the page asks no other host for anything. It listens on this computer alone unless
--host says otherwise. Ctrl-C ends it.
"""

import argparse
import sys

from id2face_jax.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --host, --port and the models."""
    group = parser.add_argument_group("the page")
    group.add_argument(
        "--host",
        default="127.0.0.1",
        help="Listen on this address; others than this computer's own open the page to "
        "the network, without encryption or password.",
    )
    group.add_argument(
        "--port",
        type=int,
        default=7860,
        help="Listen on this port; 0 takes a free one.",
    )
    group = parser.add_argument_group("new faces")
    options.add_checkpoint(group)
    options.add_recognizers(group)
    options.add_steps(group)


def run(args: argparse.Namespace) -> int:
    """Serves until it is interrupted."""
    from id2face_jax.anonymize.pipeline import generator
    from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
    from id2face_jax.web import server

    if args.host not in server.LOOPBACK:
        print(
            f"id2face web: warning: {args.host} lets everyone who can reach this "
            "computer send photos; they travel without encryption",
            file=sys.stderr,
        )
    generator.use_compilation_cache()
    anonymizer = Anonymizer.from_pretrained(
        args.checkpoint,
        recognizer=args.recognizer,
        verifier=args.verifier,
        num_steps=args.steps,
    )
    with server.make_server(anonymizer, args.host, args.port) as page:
        print(f"the page is at {page.url}; Ctrl-C ends it", flush=True)
        page.serve_forever()
    return 0
