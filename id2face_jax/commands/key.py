"""Makes a secret key for keyed identities: 256 random bits, readable by you alone.

With `id2face anonymize --key-file FILE` the same person gets the same new face in every
photo and run. Whoever has the key can link the new faces of a person: with it the
results are pseudonymous data. Destroy it, and they can no longer be linked through it.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares FILE."""
    parser.add_argument(
        "file", help="Write the key to this file, which must not exist yet."
    )


def run(args: argparse.Namespace) -> int:
    """Writes the key."""
    from id2face_jax.anonymize.identity import keys

    keys.create_key(args.file)
    return 0
