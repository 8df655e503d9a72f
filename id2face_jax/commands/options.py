"""Options that several verbs have: one name, one meaning, one wording.

Owns those, and how help is laid out: whole sentences, each with its default.
"""

import argparse

from id2face_jax.anonymize.pipeline.options import STRENGTH

_SILENT = (None, False, [], argparse.SUPPRESS)


class Help(argparse.RawDescriptionHelpFormatter):
    """Appends each option's default, unless its text has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default in _SILENT or "(default" in text:
            return text
        return f"{text} (default: %(default)s)"


def add_checkpoint(group) -> None:
    """Declares --checkpoint: whose faces are drawn."""
    group.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="Draw faces with this export or training run. (default: the built-in "
        "model)",
    )


def add_recognizers(group) -> None:
    """Declares --recognizer and --verifier of the product."""
    group.add_argument(
        "--recognizer",
        default="dlib",
        metavar="NAME|FILE",
        help="Tell people apart with dlib or an ONNX file: the one that the model was "
        "trained on.",
    )
    group.add_argument(
        "--verifier",
        metavar="FILE",
        help="Ask a second recognizer, an ONNX file, which must not know a face again "
        "either.",
    )


def add_steps(group) -> None:
    """Declares --steps of the sampler."""
    group.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="Draw a face in so many diffusion steps. (default: the model's own)",
    )


def add_temperature(group) -> None:
    """Declares --temperature of the sampler."""
    group.add_argument(
        "--temperature",
        type=float,
        metavar="SCALE",
        help="Start from noise of this scale, 0 to 1; less is smoother. (default: the "
        "model's own)",
    )


def add_seed(group) -> None:
    """Declares --seed."""
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="Draw other strangers with another number.",
    )


def add_strength(group, least: int, most: int) -> None:
    """Declares --strength, whose range is the verb's."""
    group.add_argument(
        "--strength",
        type=float,
        default=STRENGTH,
        metavar="DEGREES",
        help=f"Turn the new identity so far from the old one, {least} to {most}.",
    )


def add_out(group, text: str, default: str | None = None, metavar: str = "DIR") -> None:
    """Declares -o, --out, required unless there is a default."""
    group.add_argument(
        "-o",
        "--out",
        default=default,
        required=default is None,
        metavar=metavar,
        help=text,
    )


def add_config(group) -> None:
    """Declares --config of a training run."""
    group.add_argument(
        "--config",
        required=True,
        metavar="NAME|FILE",
        help="Take the fields of a shipped config such as lfw128, or of a .py file "
        "with get_config(). --config.GROUP.FIELD=VALUE changes one.",
    )
