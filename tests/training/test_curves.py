"""Training curves: which numbers are drawn where."""

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from id2face_jax.training import curves


def _run(folder, steps, **values):
    folder.mkdir()
    lines = [json.dumps({"step": step} | values) for step in steps]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_warm_start_continues_the_run_before(tmp_path):
    first = _run(tmp_path / "a", (25, 50), recomposition=1.0)
    second = _run(tmp_path / "b", (25, 75), recomposition=0.5)
    lines, starts = curves.join([curves.read(first), curves.read(second)])
    assert [line["step"] for line in lines] == [25, 50, 75, 125]
    assert starts == [50]


def test_the_picture_shows_the_numbers(tmp_path):
    run = _run(tmp_path / "run", range(0, 100, 10), recomposition=0.5, leak_probe=0.9)
    assert curves.main([str(run), "--out", str(tmp_path / "one.png")]) == 0
    other = _run(tmp_path / "other", range(0, 100, 10), **{"validation/leak_probe": 1})
    assert curves.main([str(other), "--out", str(tmp_path / "two.png")]) == 0
    one, two = (
        np.asarray(Image.open(io.BytesIO((tmp_path / name).read_bytes())))
        for name in ("one.png", "two.png")
    )
    assert one.shape == two.shape and np.any(one != two)


def test_panels_without_numbers_are_left_out(tmp_path):
    lines = [{"step": 1, "recomposition": 1.0}]
    quarters = {f"recomposition_t{i}": 1.0 for i in (1, 2, 3, 4)}
    seen = []
    for more in ({}, quarters, {"validation/leak_probe": 1.0}):
        picture = curves.draw([lines[0] | more], [])
        seen.append(np.asarray(Image.open(io.BytesIO(picture))))
    assert all(np.any(a != b) for a, b in itertools.combinations(seen, 2))
    run = _run(tmp_path / "autoencoder", (1, 2), psnr=30.0)
    assert curves.main([str(run), "--out", str(tmp_path / "none.png")]) == 1
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize("content", [None, ""])
def test_a_folder_without_metrics_is_told(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    assert curves.main([str(tmp_path), "--out", str(tmp_path / "x.png")]) == 1
    assert "holds no metrics; give the --workdir" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()
