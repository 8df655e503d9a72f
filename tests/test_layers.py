"""The package reads downwards: no upward import, no circle, pure code stays pure."""

import ast
import pathlib

import pytest

import id2face_jax

ROOT = pathlib.Path(id2face_jax.__file__).parent

# Lowest first; a part may import those before it and itself. One name may stand for a
# file at the package's root or for a folder.
LAYERS = (
    ("atomic", "charts", "compiling", "diffusion", "errors", "extras", "identity"),
    ("labels", "pages", "settings"),
    ("models",),
    ("faces",),
    ("data",),
    ("generation",),
    ("training",),
    ("anonymize",),
    ("convert", "demo", "evaluation", "plan", "web"),
    ("benchmark",),
    ("commands",),
    ("cli",),
)
# The same within anonymize/: a folder may import those before it and itself. What is
# said of one picture, and whose faces they are, stands beside the picture's own steps.
PRODUCT_LAYERS = (("io",), ("identity", "pipeline", "report"), ("video",), ("batch",))
# And within evaluation/: what is measured stands below what is said of it.
EVALUATION_LAYERS = (
    ("cache", "models", "people"),
    ("methods",),
    ("context",),
    ("metrics",),
    ("report",),
    ("runner", "setup"),
)
INNER_LAYERS = {"anonymize": PRODUCT_LAYERS, "evaluation": EVALUATION_LAYERS}
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
PURE = ("diffusion", "identity", "models")
# Files, flags, meshes and everything that reads them.
IMPURE = ("absl", "argparse", "cv2", "grain", "orbax", "os", "pathlib", "jax.sharding")
# Each folder holds what a reader can take in at once.
MOST_FILES = {"commands": 16, "training": 17}
USUAL_MOST_FILES = 14


def modules() -> dict[str, pathlib.Path]:
    """Dotted name below the package -> file."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = path
    found.pop("")
    return found


def imports(path: pathlib.Path, names: dict) -> tuple[set[str], set[str]]:
    """(modules of ours, dotted names of others) that a file imports, anywhere in it."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            others |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] != "id2face_jax":
                others |= {node.module}
                others |= {f"{node.module}.{alias.name}" for alias in node.names}
                continue
            base = node.module.removeprefix("id2face_jax").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                ours.add(full if full in names else base)
    return ours - {""}, others


def test_every_part_has_its_layer():
    parts = {name.split(".")[0] for name in modules()}
    assert parts == set(LEVEL)


def test_nothing_imports_upwards():
    names = modules()
    wrong = [
        f"{name} imports {other}"
        for name, path in names.items()
        for other in imports(path, names)[0]
        if LEVEL[other.split(".")[0]] > LEVEL[name.split(".")[0]]
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("whole", INNER_LAYERS)
def test_nothing_within_a_part_imports_upwards(whole):
    level = {
        f"{whole}.{part}": number
        for number, parts in enumerate(INNER_LAYERS[whole])
        for part in parts
    }

    def part_of(name: str) -> str:
        return ".".join(name.split(".")[:2])

    everything = modules()
    names = {n: path for n, path in everything.items() if n.startswith(f"{whole}.")}
    assert {part_of(name) for name in names} == set(level)
    wrong = [
        f"{name} imports {other}"
        for name, path in names.items()
        for other in imports(path, everything)[0]
        if part_of(other) in level and level[part_of(other)] > level[part_of(name)]
    ]
    assert not wrong, wrong


def test_no_module_imports_itself_by_a_detour():
    names = modules()
    needs = {name: imports(path, names)[0] for name, path in names.items()}

    def reach(name: str) -> set[str]:
        seen, todo = set(), [name]
        while todo:
            for other in needs.get(todo.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    circles = [name for name in names if name in reach(name)]
    assert not circles, circles


def test_pure_code_touches_no_file_flag_or_mesh():
    names = modules()
    wrong = [
        f"{name} imports {other}"
        for name, path in names.items()
        if name.split(".")[0] in PURE
        for other in imports(path, names)[1]
        if any(other == bad or other.startswith(bad + ".") for bad in IMPURE)
    ]
    assert not wrong, wrong


def test_a_folder_can_be_taken_in_at_once():
    for folder in {path.parent for path in modules().values()} - {ROOT}:
        name = ".".join(folder.relative_to(ROOT).parts)
        count = len([p for p in folder.glob("*.py") if p.name != "__init__.py"])
        assert count <= MOST_FILES.get(name, USUAL_MOST_FILES), (name, count)
