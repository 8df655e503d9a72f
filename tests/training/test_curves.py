"""Training curves: which numbers are drawn where."""

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from id2face_jax import cli
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
    assert cli.main(["curves", str(run), "-o", str(tmp_path / "one.png")]) == 0
    other = _run(tmp_path / "other", range(0, 100, 10), **{"validation/leak_probe": 1})
    assert cli.main(["curves", str(other)]) == 0
    one, two = (
        np.asarray(Image.open(io.BytesIO((tmp_path / name).read_bytes())))
        for name in ("one.png", "other/curves.png")
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
    run = _run(tmp_path / "other", (1, 2), nobody_draws=30.0)
    assert cli.main(["curves", str(run)]) == 1
    assert not (run / "curves.png").exists()


def test_a_run_that_is_being_written_can_be_read(tmp_path, capsys):
    run = _run(tmp_path / "run", (10, 20), psnr=30.0)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "ps')
    assert cli.main(["curves", str(run)]) == 0
    assert "2 lines, up to step 20" in capsys.readouterr().out


def test_the_legend_covers_no_line(monkeypatch):
    figures = []
    monkeypatch.setattr(
        curves.charts, "png", lambda figure: figures.append(figure) or b""
    )
    curves.draw([{"step": i, "leak_probe": 1.0, "l1": 2.0} for i in (1, 2)], [])
    (figure,) = figures
    figure.canvas.draw()
    for axes in figure.axes:
        legend = axes.get_legend().get_window_extent()
        assert not legend.overlaps(axes.get_window_extent())
        # Nor the words below the axis, and it is inside of the picture.
        assert not legend.overlaps(axes.xaxis.label.get_window_extent())
        assert figure.bbox.y0 <= legend.y0


@pytest.mark.parametrize("content", [None, ""])
def test_a_folder_without_metrics_is_told(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    assert cli.main(["curves", str(tmp_path)]) == (2 if content is None else 1)
    assert "metrics; give the --workdir" in capsys.readouterr().err.replace(
        ".jsonl", ""
    )
    assert not (tmp_path / "curves.png").exists()
