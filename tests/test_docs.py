"""What is written: commands that parse, links that lead somewhere, figures as drawn."""

import pathlib
import re
import shlex
import subprocess

import pytest

import id2face_jax
from id2face_jax import cli
from studies import architecture

ROOT = pathlib.Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
IMPORT = re.compile(r"from (?:id2face_jax|configs)\S* import \w")
SHOWN = re.compile(r"^(?:\S+ )*?(?:\.venv/bin/)?id2face ")


def pages() -> list[pathlib.Path]:
    """All Markdown files of the repository, without those that git does not know."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split() if (path := ROOT / name).exists()]


def commands(text: str) -> list[str]:
    """The `id2face` lines of indented and fenced blocks, continued ones joined."""
    lines = text.replace("\\\n", " ").splitlines()
    is_fenced, found = False, []
    for line in lines:
        is_fenced ^= line.lstrip().startswith("```")
        if (is_fenced or line.startswith("    ")) and SHOWN.match(line.strip()):
            found.append(line.strip())
    return found


def test_the_readme_is_read_in_one_go():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_link_to_a_file_leads_to_one():
    for page in pages():
        for link in LINK.findall(page.read_text()):
            if "://" not in link and not link.startswith("mailto:"):
                assert (page.parent / link).exists(), f"{page}: {link}"


def test_every_command_shown_is_one_that_the_parser_takes():
    shown = {(page, line) for page in pages() for line in commands(page.read_text())}
    assert len(shown) > 40
    parser = cli.make_parser()
    for page, line in shown:
        words = shlex.split(line, comments=True)
        words = words[next(i for i, x in enumerate(words) if x.endswith("id2face")) :]
        if "VERB" in line or " [" in line:  # a form, not a command
            continue
        try:
            args, unknown = parser.parse_known_args(words[1:])
        except SystemExit:
            pytest.fail(f"{page}: {line}")
        takes = args.verb in cli.TAKES_OVERRIDES
        is_config = all(word.startswith("--config.") for word in unknown)
        assert not unknown or (takes and is_config), f"{page}: {line}"


def test_every_name_that_a_page_imports_is_there():
    seen = set()
    for page in pages():
        lines = page.read_text().splitlines()
        bare = [line.strip().removeprefix(">>> ") for line in lines]
        seen |= {line for line in bare if IMPORT.match(line) and line[-1] != "("}
    assert len(seen) > 5
    for line in sorted(seen):
        exec(line, {})


def test_the_figure_of_the_method_is_as_its_script_draws_it():
    assert architecture.OUT.read_text() == architecture.draw()


def test_every_public_name_stands_on_the_page_of_the_api():
    text = (ROOT / "docs" / "api.md").read_text()
    for name in set(id2face_jax.__all__) - {"__version__"}:
        assert re.search(rf"^::: \S+\.{name}$", text, re.MULTILINE), name
