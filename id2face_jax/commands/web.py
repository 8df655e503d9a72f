"""Serves a page on this computer: drop a photo, compare, save the anonymized one.

Photos are held in memory and discarded after the response; nothing is written to disk,
and the page asks no other host for anything. It listens on this computer alone unless
--host says otherwise. Ctrl-C ends it.
"""

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --host, --port and the models."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; others than this computer's own open the page to "
        "the network, without encryption or password (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port", type=int, default=7860, help="0 takes a free one (default: 7860)"
    )
    parser.add_argument(
        "--checkpoint", help="export or training run; default: the embedded model"
    )
    parser.add_argument(
        "--recognizer",
        default="dlib",
        help="dlib or an ONNX file: the one that the model was trained on",
    )
    parser.add_argument(
        "--verifier",
        metavar="ONNX",
        help="a second recognizer, which must not know a face again either",
    )
    parser.add_argument("--steps", type=int, help="of diffusion; default: the model's")


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
