"""The front door: verbs, errors, exit codes."""

import argparse
import json
import pathlib
import subprocess
import sys
import types

import pytest

import id2face_jax
from id2face_jax import cli, commands, errors

# Importing any of these costs seconds.
HEAVY = ("jax", "flax", "grain", "cv2", "onnxruntime", "orbax", "absl", "scipy")


def _command(run):
    """A verb that takes one number."""

    def add_arguments(parser):
        parser.add_argument("--number", type=int)

    return types.SimpleNamespace(
        __doc__="Does it.", add_arguments=add_arguments, run=run
    )


@pytest.fixture
def verb(monkeypatch):
    """verb(run): makes `run` the verb "do"."""
    return lambda run: monkeypatch.setitem(cli.COMMANDS, "do", _command(run))


def test_every_command_is_listed():
    files = pathlib.Path(commands.__file__).parent.glob("*.py")
    verbs = {path.stem for path in files if "def run(" in path.read_text()}
    assert verbs == set(cli.COMMANDS)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["train", "--help"]])
def test_help_is_instant(argv):
    code = (
        "import sys\nfrom id2face_jax import cli\n"
        f"try:\n    cli.main({argv!r})\n"
        f"finally:\n    print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_has_a_line_for_every_verb(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    described = {line[0] for line in lines if len(line) > 2}
    assert set(cli.COMMANDS) <= described


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_verb_explains_itself(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    summary = cli.COMMANDS[name].__doc__.splitlines()[0]
    assert summary in capsys.readouterr().out
    assert summary.endswith((".", ":")) and len(summary) <= 88


def options_of(verb):
    subparsers = next(
        action
        for action in cli.make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return [
        action
        for action in subparsers.choices[verb]._actions
        if not isinstance(action, argparse._HelpAction)
    ]


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_option_is_a_sentence_with_its_default(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for action in options_of(name):
        text = action.help or ""
        sentence = text.split(" (default")[0]
        assert sentence[:1].isupper() and sentence.endswith("."), (action, text)
        if action.default not in (None, False, [], argparse.SUPPRESS):
            known = action.default if "(default" not in text else "(default"
            assert f"(default: {known}" in shown or "(default" in text, action.dest


def test_one_name_is_one_thing_in_all_verbs():
    """The same words for an option wherever it stands, but where its range differs."""
    told = {}
    for verb in cli.COMMANDS:
        for action in options_of(verb):
            for option in action.option_strings:
                told.setdefault(option, {})[verb] = action.help
    shared = ("--checkpoint", "--seed", "--steps", "--temperature", "--verifier")
    for option in shared:
        of_a_run = {"export"} if option == "--checkpoint" else set()
        texts = {text for verb, text in told[option].items() if verb not in of_a_run}
        assert len(texts) == 1, option
    assert set(told["-o"]) == set(told["--out"])
    assert not {"--angle", "--output", "--degrees"} & set(told)


def test_a_split_that_is_not_there_is_told_before_anything_is_measured(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    info = {"splits": [{"name": "train"}, {"name": "validation"}]}
    (tmp_path / "mine" / "dataset_info.json").write_text(json.dumps(info))
    assert cli.main(["evaluate", "mine"]) == 2
    told = capsys.readouterr().err
    assert "mine has no split 'test'; it has train, validation" in told
    assert "choose one with --split" in told and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("out", ["zz.xyz", "new/zz.xyz"])
def test_a_result_of_no_known_format_is_wrong_usage(tmp_path, capsys, out):
    photo = tmp_path / "photo.jpg"
    photo.touch()
    assert cli.main(["anonymize", str(photo), "-o", str(tmp_path / out)]) == 2
    told = capsys.readouterr().err
    assert ".xyz is no format that is written here; use one of" in told
    assert ".png" in told and "end a folder's name in /" in told
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"id2face_jax {id2face_jax.__version__}\n"


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_commands(verb, code):
    verb(lambda args: code)
    assert cli.main(["do"]) == code


def test_arguments_reach_the_command(verb):
    verb(lambda args: args.number)
    assert cli.main(["do", "--number", "7"]) == 7


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("size is 7;\n  use 8"), "id2face do: size is 7; use 8"),
        (FileNotFoundError(2, "No such file", "a.jpg"), "No such file: 'a.jpg'"),
    ],
)
def test_an_expected_error_is_one_line_and_code_1(verb, capsys, error, line):
    def run(args):
        raise error

    verb(run)
    assert cli.main(["do"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1 and line in shown.err


def test_a_command_line_without_sense_is_code_2(verb, capsys):
    def run(args):
        raise errors.UsageError("--workers needs\n --ray-address")

    verb(run)
    assert cli.main(["do"]) == 2
    assert capsys.readouterr().err == "id2face do: --workers needs --ray-address\n"


def test_an_unexpected_error_is_not_hidden(verb):
    def run(args):
        raise RuntimeError("a mistake of ours")

    verb(run)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cli.main(["do"])


def test_traceback_shows_where_an_error_came_from(verb):
    def run(args):
        raise ValueError("size is 7")

    verb(run)
    with pytest.raises(ValueError, match="size is 7"):
        cli.main(["--traceback", "do"])


def test_an_interrupt_ends_quietly(verb, capsys):
    def run(args):
        raise KeyboardInterrupt

    verb(run)
    assert cli.main(["do"]) == 130
    assert capsys.readouterr().err == "id2face do: interrupted\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["do", "--other", "1"],
        ["do", "--number", "x"],
        ["do", "--num", "7"],
    ],
    ids=["no verb", "no such verb", "unknown", "no number", "abbreviated"],
)
def test_wrong_usage_is_code_2(verb, argv):
    verb(lambda args: 0)
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv)


def test_train_takes_overrides_of_its_config_in_order(monkeypatch):
    seen = {}

    def run(args):
        seen.update(vars(args))
        return 0

    monkeypatch.setattr(cli.COMMANDS["train"], "run", run)
    overrides = ["--config.optim.lr=1e-3", "--config.seed=4"]
    argv = ["train", "--config", "c.py", overrides[0], "--workdir", "w", overrides[1]]
    assert cli.main(argv) == 0
    assert (seen["config"], seen["workdir"]) == ("c.py", "w")
    assert seen["overrides"] == overrides


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_a_completion_is_printed_for_every_shell(shell, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--print-completion", shell])
    told = capsys.readouterr().out
    assert all(verb in told for verb in cli.COMMANDS)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("anon", "anonymize"),
        ("anonymize --appea", "--appearance"),
        ("anonymize --appearance k", "keep"),
        ("anonymize pho", "photo.jpg"),
        ("sample --checkpoint exp", "export"),
    ],
)
def test_bash_completes_verbs_options_and_names(typed, completed, tmp_path, capsys):
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "export").mkdir()
    with pytest.raises(SystemExit):
        cli.main(["--print-completion", "bash"])
    words = ["id2face", *typed.split()]
    script = (
        f"{capsys.readouterr().out}\nCOMP_WORDS=({' '.join(words)})\n"
        f"COMP_CWORD={len(words) - 1}\n_shtab_id2face\necho ${{COMPREPLY[@]}}\n"
    )
    command = ["bash", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [completed]
