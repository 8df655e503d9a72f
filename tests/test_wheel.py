"""The wheel: what is in it, and that it works away from the clone."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the unpacked wheel, as pip would leave it."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(out / "site")
    return out / "site"


@pytest.mark.slow
def test_a_wheel_holds_what_the_package_needs_and_no_more(site):
    tops = {path.name for path in site.iterdir()}
    assert tops == {"id2face_jax", "id2face_jax-0.1.0.dist-info"}
    package = site / "id2face_jax"
    for name in ("LICENSE", "card.json", "config.json", "weights"):
        assert (package / "pretrained" / "lfw128" / name).exists()
    for name in ("py.typed", "faces/truncated.onnx", "web/page.js", "configs/base.py"):
        assert (package / name).is_file()
    assert not list(site.rglob("__pycache__"))
    tracked = {path.name for path in (ROOT / "configs").glob("*.py")}
    assert {path.name for path in (package / "configs").glob("*.py")} == tracked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--help"], 0, "id2face VERB --help"),
        (["train", "--config", "lfw128", "--workdir", "run"], 2, "data.records is"),
        (["train", "--config", "mine.py", "--workdir", "run"], 2, "weights is empty"),
        (["export", "--checkpoint", "none", "-o", "out"], 1, "has no checkpoint"),
    ],
)
def test_an_unpacked_wheel_works_anywhere(site, tmp_path, arguments, code, told):
    (tmp_path / "mine.py").write_text(
        "from configs import lfw128\n\n\ndef get_config():\n"
        "    config = lfw128.get_config()\n    config.data.records = 'synthetic'\n"
        "    config.autoencoder.weights = ''\n    return config\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "id2face_jax.cli", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr
