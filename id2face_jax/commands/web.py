"""Serves a page on this computer: drop a photo, compare, save the anonymized one.

Photos are held in memory and discarded after the response; nothing is written to disk,
and the page asks no other host for anything. It listens on this computer alone unless
--host says otherwise. Ctrl-C ends it.
"""

import argparse
import os
import re
import sys

from id2face_jax.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --host, --port, --allowed-host and the models."""
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
    group.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        type=_host_name,
        metavar="NAME",
        help="Answer a proxy that asks for the page by this name, or *.example.com; "
        "may be given several times. (default: this computer's own names; any, with "
        "another --host)",
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
    page = server.make_server(anonymizer, args.host, args.port, args.allowed_host)
    print(f"the page is at {page.url}; Ctrl-C ends it", flush=True)
    try:
        page.serve_forever()
    except KeyboardInterrupt:
        # Python would wait for the photo in work, which nobody gets any more, and
        # might warn of the event loop that the signal ended.
        print("id2face web: interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    finally:
        page.close()
    return 0


def _host_name(text: str) -> str:
    if not re.fullmatch(r"(\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9a-fA-F:.]+\]", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no host's name; give it as in photos.example.com, without "
            "port and path"
        )
    return text
