"""The `id2face` command: verbs to functions, and errors to exit codes. No logic.

Each verb is a module of `commands` with `add_arguments(parser)` and
`run(args) -> int`; its docstring is the verb's help. Those modules import nothing
heavy at their top, so `id2face --help` answers at once.

Exit codes: 0 done; 1 an error, told in one line on stderr; 2 wrong usage; 3 some input
was refused or failed its verification; 75 training was stopped and saved, run it again.
"""

import argparse
import sys
from collections.abc import Sequence

import id2face_jax
from id2face_jax import extras
from id2face_jax.commands import (
    anonymize,
    benchmark,
    convert,
    curves,
    demo,
    evaluate,
    export,
    key,
    options,
    plan,
    prepare,
    sample,
    train,
    web,
)
from id2face_jax.errors import UsageError

GROUPS = {
    "hide faces": {"anonymize": anonymize, "key": key, "web": web, "demo": demo},
    "train": {
        "prepare": prepare,
        "train": train,
        "curves": curves,
        "sample": sample,
        "export": export,
        "convert": convert,
        "plan": plan,
    },
    "measure": {"evaluate": evaluate, "benchmark": benchmark},
}
COMMANDS = {verb: x for group in GROUPS.values() for verb, x in group.items()}
# These verbs take --config.key=value, which only the config file can tell right from
# wrong; all others refuse what they do not know.
TAKES_OVERRIDES = ("train", "convert", "plan")
SHELLS = ("bash", "zsh", "tcsh")
# Arguments shown so are completed with names of files, and of folders.
_NAMES_OF_FILES = ("INPUT", "FILE", "PATH", "PHOTO", "NAME|FILE", "CSV")
_NAMES_OF_FOLDERS = ("DIR", "PEOPLE", "PHOTOS", "RECORDS", "RUN", "WORKDIR")


def _verbs() -> str:
    """The verbs by group, a line each, and the first thing to try."""
    lines = []
    for title, group in GROUPS.items():
        lines += [f"{title}:"]
        lines += [
            f"  {verb:<11}{x.__doc__.splitlines()[0]}" for verb, x in group.items()
        ]
        lines += [""]
    lines += ["`id2face VERB --help` lists a verb's options. A first try:", ""]
    return "\n".join([*lines, "  id2face anonymize photo.jpg -o hidden.png"])


class _PrintCompletion(argparse.Action):
    """Prints what a shell needs to complete verbs, options and names, and ends."""

    def __call__(self, parser, namespace, values, option_string=None):
        import shtab

        folders = dict.fromkeys(_NAMES_OF_FOLDERS, shtab.DIRECTORY)
        verbs = next(x for x in parser._actions if x.dest == "verb")
        verbs.help = None  # what help suppresses is not completed
        for subparser in verbs.choices.values():
            for action in subparser._actions:
                if action.metavar in (*_NAMES_OF_FILES, *_NAMES_OF_FOLDERS):
                    action.complete = folders.get(action.metavar, shtab.FILE)
        print(shtab.complete(parser, values))
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """The parser of `id2face`, with one subparser a verb."""
    parser = argparse.ArgumentParser(
        prog="id2face",
        usage="id2face [--version] [--traceback] VERB ...",
        description="Anonymizes faces by identity-decoupled diffusion.",
        epilog=_verbs(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"id2face_jax {id2face_jax.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument(
        "--traceback", action="store_true", help="Show where an error came from."
    )
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        action=_PrintCompletion,
        help="Print what completes this command in a shell, and end.",
    )
    # Listed by `_verbs`, in groups, which argparse does not know.
    verbs = parser.add_subparsers(
        dest="verb",
        metavar="VERB",
        required=True,
        prog="id2face",
        help=argparse.SUPPRESS,
    )
    for verb, command in COMMANDS.items():
        subparser = verbs.add_parser(
            verb,
            help=command.__doc__.splitlines()[0],  # zsh shows it
            description=command.__doc__,
            formatter_class=options.Help,
            allow_abbrev=False,
        )
        command.add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code; argv None is the command line.

    Verbs in TAKES_OVERRIDES find the arguments that their parser does not know, in
    order, as `args.overrides`.
    """
    parser = make_parser()
    args, unknown = parser.parse_known_args(argv)
    if args.verb in TAKES_OVERRIDES:
        args.overrides = unknown
    elif unknown:
        parser.error(f"{args.verb} does not know: {' '.join(unknown)}")
    try:
        return COMMANDS[args.verb].run(args)
    except (ValueError, OSError) as error:
        if args.traceback:
            raise
        message = " ".join(str(error).split())
        print(f"id2face {args.verb}: {message}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except ModuleNotFoundError as error:
        if args.traceback or not (message := extras.missing(error)):
            raise
        print(f"id2face {args.verb}: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"id2face {args.verb}: interrupted", file=sys.stderr)
        return 130  # as shells report SIGINT


if __name__ == "__main__":
    sys.exit(main())
