"""The light core: what it imports, and what is said where an extra is missing."""

import importlib.metadata
import pathlib
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from id2face_jax import extras
from tests.test_layers import ROOT, imports, modules

PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
# Verbs that work without any extra, and the Python API.
CORE = ("commands.anonymize", "commands.key", "commands.web", "commands.demo")
CORE += ("commands.export", "generation.generate", "generation.exports")


def names(requirements) -> set[str]:
    """Distributions of requirement lines, as importlib.metadata spells them."""
    cut = [line.partition(";")[0].partition("[")[0] for line in requirements]
    bare = [line.split(">")[0].split("=")[0].strip() for line in cut]
    return {name.lower().replace("_", "-") for name in bare}


FILES = modules()
DISTRIBUTIONS = importlib.metadata.packages_distributions()  # takes a second


def distributions(package: str) -> set[str]:
    found = DISTRIBUTIONS.get(package, ())
    return {name.lower().replace("_", "-") for name in found}


def third_party(path) -> set[str]:
    tops = {name.partition(".")[0] for name in imports(path, FILES)[1]}
    return tops - set(sys.stdlib_module_names) - {"id2face_jax"}


def test_the_core_imports_the_cores_packages_alone():
    needs = {name: imports(path, FILES)[0] for name, path in FILES.items()}
    seen, todo = set(), list(CORE)
    while todo:
        if (name := todo.pop()) not in seen:
            seen.add(name)
            todo += needs[name]
    core = names(PROJECT["dependencies"])
    # Optional even there: they are looked for before they are imported.
    optional = {"ray", "pillow_heif"}
    for name in sorted(seen):
        for package in third_party(FILES[name]) - optional:
            assert distributions(package) & core, f"{name} imports {package}"


def test_every_import_is_of_the_core_or_of_an_extra_that_says_so():
    core = names(PROJECT["dependencies"])
    # The other side of a comparison, for those who have it.
    others = {"torch", "diffusers", "libtpu"}
    for name, path in FILES.items():
        for package in third_party(path) - others:
            if distributions(package) & core:
                continue
            extra = extras.EXTRA_OF.get(package)
            assert extra, f"{name} imports {package}, which no extra brings"
            lines = PROJECT["optional-dependencies"][extra]
            assert distributions(package) & names(lines), (package, extra)


def requirements_of(*extras_wanted) -> list[Requirement]:
    lines = [*PROJECT["dependencies"]]
    for extra in extras_wanted:
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(x) for x in lines if not x.startswith("id2face-jax[")]


def test_every_requirement_has_a_lower_bound():
    for one in requirements_of(*PROJECT["optional-dependencies"]):
        operators = {part.operator for part in one.specifier}
        assert operators & {">=", "=="}, one


def test_the_pinned_set_keeps_every_bound():
    pinned = {}
    for line in (ROOT.parent / "requirements.txt").read_text().splitlines():
        name, is_pin, version = line.partition("#")[0].strip().partition("==")
        if is_pin:
            pinned[canonicalize_name(name)] = version
    for one in requirements_of("train", "evaluate", "ray", "heic"):
        assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one
    fixed = "jax flax optax orbax-checkpoint tensorflow-datasets grain einops "
    assert {*fixed.split(), "ml-collections", "pytest"} <= set(pinned)


@pytest.mark.parametrize(
    ("verb", "package", "extra"),
    [
        ("train --config smoke --workdir run", "tensorboardX", "train"),
        ("sample --records none", "grain", "train"),
        ("prepare none -o records", "tensorflow_datasets", "train"),
        ("curves run", "matplotlib", "train"),
        ("evaluate run -o out", "sklearn", "evaluate"),
    ],
)
def test_a_verb_without_its_extra_says_the_pip_line(verb, package, extra, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "l1": 1.0}\n')
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from id2face_jax import cli; sys.exit(cli.main({verb.split()!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT.parent), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"id2face {verb.split()[0]}: this needs {package}, which is not installed; "
        f"run: pip install -e '.[{extra}]'\n"
    )


def test_a_wheel_names_packages_not_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site" / "extras.py"))
    lines = [
        "jax>=0.10",
        "grain>=0.2.12; extra == 'train'",
        "id2face-jax[train]; extra == 'evaluate'",
        'scikit-learn>=1.6; extra == "evaluate"',
    ]
    monkeypatch.setattr(extras.importlib.metadata, "requires", lambda name: lines)
    assert extras.pip_line("evaluate") == (
        "pip install 'grain>=0.2.12' 'scikit-learn>=1.6'"
    )


def test_an_import_that_no_extra_brings_is_not_explained():
    assert extras.missing(ModuleNotFoundError("x", name="id2face_jax.nowhere")) is None
    assert pathlib.Path(extras.__file__).is_relative_to(ROOT)
