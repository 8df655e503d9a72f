"""The training loop through its front door: resume, stops, and what it writes."""

import errno
import json
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

from id2face_jax.convert import tfjs
from id2face_jax.data import pipeline
from id2face_jax.generation import exports
from id2face_jax.training import checkpoint, metrics, objectives, progress, train
from tests import runs
from tests.convert import tfjs_files


def lines(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def data_state(workdir, step):
    return (workdir / "checkpoints" / str(step) / "data" / "metadata").read_text()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """(workdir, last state) of six steps in one go."""
    workdir = tmp_path_factory.mktemp("straight")
    state = train.train_and_evaluate(runs.tiny_config(), workdir)
    return workdir, jax.device_get(state)


def interrupt(monkeypatch, at):
    """As if SIGTERM had come: saves are due, and the loop ends, at step `at`."""
    is_due = checkpoint.Checkpointer.is_due
    monkeypatch.setattr(
        checkpoint.Checkpointer, "preempted", lambda self, step: step == at
    )
    monkeypatch.setattr(
        checkpoint.Checkpointer,
        "is_due",
        lambda self, step: step == at or is_due(self, step),
    )


def test_an_interrupted_run_equals_a_straight_one_bitwise(
    straight, tmp_path, monkeypatch
):
    config = runs.tiny_config()
    with monkeypatch.context() as patch:
        # Off schedule: save_every is 3.
        interrupt(patch, at=4)
        stopped = train.train_and_evaluate(config, tmp_path)
    assert int(stopped.step) == 4
    resumed = train.train_and_evaluate(config, tmp_path)
    runs.assert_same(resumed, straight[1])
    assert data_state(tmp_path, 6) == data_state(straight[0], 6)
    # Steps after the interruption stand once, with the straight run's numbers.
    losses = [
        {x["step"]: x["loss"] for x in lines(workdir) if x["step"] > 4 and "loss" in x}
        for workdir in (tmp_path, straight[0])
    ]
    assert losses[0] == losses[1] != {}


def test_a_lost_attempt_leaves_no_trace(straight, tmp_path):
    workdir = tmp_path / "run"
    # As after a kill at step 5: the newest checkpoint is 3, the log is further.
    (workdir / "checkpoints").mkdir(parents=True)
    saved = straight[0] / "checkpoints" / "3"
    saved_copy = workdir / "checkpoints" / "3"
    for file in saved.rglob("*"):
        if file.is_file():
            target = saved_copy / file.relative_to(saved)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    rows = [{"step": step, "loss": -1.0} for step in (2, 3, 4, 5)]
    log = "".join(f"{json.dumps(x)}\n" for x in rows)
    (workdir / "metrics.jsonl").write_text(log + '{"step": 6, "lo')  # cut by the kill
    state = train.train_and_evaluate(runs.tiny_config(), workdir)
    runs.assert_same(state, straight[1])
    assert data_state(workdir, 6) == data_state(straight[0], 6)
    made_up = [x["step"] for x in lines(workdir) if x.get("loss") == -1.0]
    assert made_up == [2, 3]


def test_a_damaged_line_before_the_last_is_told(tmp_path):
    (tmp_path / metrics.JSONL).write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match=f"{metrics.JSONL}: line 2 is damaged"):
        metrics.read_rows(tmp_path)


def test_a_finished_run_stays_as_it_is(straight):
    workdir, state = straight
    before = sorted(p.name for p in (workdir / "checkpoints").iterdir())
    again = train.train_and_evaluate(runs.tiny_config(), workdir)
    runs.assert_same(again, state)
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == before


def test_a_run_records_what_it_did(straight):
    workdir, state = straight
    assert int(state.step) == 6
    config = ml_collections.FrozenConfigDict(runs.tiny_config())
    assert exports.from_json((workdir / "config.json").read_text()) == config
    start = json.loads((workdir / "starts.jsonl").read_text().splitlines()[0])
    assert start["versions"]["jax"] == jax.__version__
    assert {"git", "devices", "processes", "time", "step"} <= set(start)
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == {"3", "6"}
    training = [x for x in lines(workdir) if "loss" in x]
    assert [x["step"] for x in training] == [2, 3, 4, 6]
    for name in ("lr", "grad_norm", "images_per_s", "time/data", "time/step"):
        assert np.isfinite(training[-1][name])
    shares = [v for k, v in training[-1].items() if k.startswith("time/")]
    assert 0 < sum(shares) <= 1.0 + 1e-6
    # Set-up and compiling are most of so short a run.
    assert 0 < training[-1]["run/goodput"] < 0.9 and training[-1]["run/hours"] > 0
    heldout = [x for x in lines(workdir) if "validation/loss" in x]
    assert [x["step"] for x in heldout] == [3, 6]
    assert list((workdir / "tensorboard").iterdir())


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_grids_show_source_and_results(straight):
    images = [picture(path) for path in sorted((straight[0] / "samples").iterdir())]
    assert len(images) == 2
    height, width = images[0].shape[:2]
    # Four columns and eight rows of 32 px, magnified to 96, and a title.
    assert width == 4 * (96 + 4) + 4
    assert height > 8 * (96 + 4)
    assert images[0].std() > 10


def test_the_run_is_quiet_about_its_data_but_not_about_its_speed(straight, capfd):
    train.train_and_evaluate(runs.tiny_config(), straight[0])
    told = capfd.readouterr().err
    assert "from step 6 to 6" in told
    assert "compiling the step" in told
    assert "M trainable parameters" in told and "compiled in" in told


def test_nan_stops_with_its_step_and_is_never_saved(tmp_path):
    # The learning rate is 0 at the first update, infinite thereafter: the second update
    # breaks the parameters, the third step sees it.
    config = runs.tiny_config(optim__lr=1e38, train__log_every=5, train__save_every=4)
    with pytest.raises(ValueError, match=r"loss is (nan|inf) at step 3; lower"):
        train.train_and_evaluate(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_whose_time_is_over_before_its_first_step_saves_that_step(
    tmp_path, capsys
):
    config = runs.tiny_config(train__max_minutes=1e-6, train__num_steps=1000)
    assert int(train.train_and_evaluate(config, tmp_path).step) == 1
    assert exports.load_run(tmp_path)[2] == 1
    assert "are over: saved step 1" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["save", "close", "scalars"])
def test_a_full_disk_is_told_as_what_it_is(tmp_path, monkeypatch, where):
    def fail(*args):
        # As Orbax's storage says it, and as Python does.
        if where == "scalars":
            raise OSError(errno.ENOSPC, "No space left on device")
        text = "RESOURCE_EXHAUSTED: Error writing x: No space left on device"
        raise ValueError(text)

    owner = metrics.Writer if where == "scalars" else checkpoint.Checkpointer
    monkeypatch.setattr(owner, where, fail)
    with pytest.raises(OSError, match="disk of .* is full; make room .* from step"):
        train.train_and_evaluate(runs.tiny_config(), tmp_path)


def test_an_error_is_not_hidden_by_those_of_closing(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(checkpoint.Checkpointer, "close", fail)
    config = runs.tiny_config(optim__lr=1e38, train__log_every=5, train__save_every=4)
    with pytest.raises(ValueError, match="loss is"):
        train.train_and_evaluate(config, tmp_path)


def test_a_run_that_cannot_begin_leaves_no_empty_folder(tmp_path, monkeypatch):
    def fail(*args):
        raise ValueError("does not compile")

    monkeypatch.setattr(train.programs, "compile_programs", fail)
    with pytest.raises(ValueError, match="does not compile"):
        train.train_and_evaluate(runs.tiny_config(), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_long_wait_says_what_for_and_how_long(capsys):
    with progress.going_on("compiling", every=0.01):
        time.sleep(0.1)
    first, *more = capsys.readouterr().err.splitlines()
    assert first == "compiling ..."
    assert len(more) >= 2 and all("compiling: 0 s so far" in line for line in more)


def test_another_network_in_the_workdir_is_refused(straight):
    config = runs.tiny_config(autoencoder__depths=(1, 2))
    with pytest.raises(ValueError, match=r"autoencoder.depths is \(1, 1\) there"):
        train.train_and_evaluate(config, straight[0])


def test_a_warm_start_begins_with_the_export(straight, tmp_path):
    config, weights, _ = exports.load_run(straight[0])
    export = exports.save_export(tmp_path / "export", config, weights)
    state = train.train_and_evaluate(
        # One step at learning rate 0: the warm-up's first.
        runs.tiny_config(
            train__init_from=str(export),
            train__num_steps=3,
            train__log_every=1,
            optim__lr=1e-30,
        ),
        tmp_path / "warm",
    )
    for tree in (state.params, state.ema):
        runs.assert_close(tree["decoder"], weights["autoencoder"]["decoder"], 1e-9)


def test_a_warm_start_from_another_task_is_refused(straight, tmp_path):
    config, weights, _ = exports.load_run(straight[0])
    export = exports.save_export(tmp_path / "export", config, weights)
    config = runs.tiny_config("id2face", train__init_from=str(export))
    with pytest.raises(ValueError, match="task is 'autoencoder' there and 'id2face'"):
        train.train_and_evaluate(config, tmp_path / "warm")


def test_an_autoencoder_of_another_size_is_refused(straight, tmp_path):
    config, weights, _ = exports.load_run(straight[0])
    export = exports.save_export(tmp_path / "export", config, weights)
    config = runs.tiny_config(
        "id2face", autoencoder__weights=str(export), autoencoder__latent_channels=8
    )
    with pytest.raises(
        ValueError, match="autoencoder.latent_channels is 4 there and 8"
    ):
        train.train_and_evaluate(config, tmp_path / "run")


@pytest.mark.slow
def test_the_diffusion_stage_trains_on_a_frozen_autoencoder(straight, tmp_path):
    config, weights, _ = exports.load_run(straight[0])
    export = exports.save_export(tmp_path / "export", config, weights)
    config = runs.tiny_config(
        "id2face",
        autoencoder__weights=str(export),
        train__num_steps=3,
        # One level, without attention: a third less to compile.
        model__unet_dims=(16,),
        model__unet_depths=(1,),
    )
    state = train.train_and_evaluate(config, tmp_path / "run")
    runs.assert_same(state.frozen["autoencoder"], weights["autoencoder"])
    # A run exports with the autoencoder it was trained on.
    _, both, step = exports.load_run(tmp_path / "run")
    assert step == 3
    runs.assert_same(both["autoencoder"], weights["autoencoder"])
    runs.assert_same(both["model"], state.ema)
    grid = picture(tmp_path / "run" / "samples" / "0000003.png")
    assert grid.shape[1] == 5 * (96 + 4) + 4


@pytest.mark.slow
def test_a_second_recognizer_is_centered_and_looks_on(tmp_path):
    tfjs_files.save_mobilenet(tmp_path / "m.json")
    config, params = tfjs.from_graph(tmp_path / "m.json")
    folder = exports.save_export(tmp_path / "m", config, {"recognizer": params})
    config = runs.tiny_config()
    config.task, config.train.num_steps = "id2face", 2
    config.loss.second_recognizer, config.loss.second_dim = str(folder), 8
    state = train.train_and_evaluate(config, tmp_path / "run")
    network = objectives.make_second_recognizer(config)
    source = pipeline.open_source(config)
    crops = np.stack([source[i]["image"] for i in range(len(source))]) / 127.5 - 1.0
    seen = network.raw(params, jnp.asarray(crops, jnp.float32))
    # Every face was looked at, since there are few.
    np.testing.assert_allclose(state.frozen["second"]["mean"], seen.mean(0), atol=1e-4)
    row = lines(tmp_path / "run")[0]
    assert 0.0 <= row["second_source"] <= 1.0 and 0.0 < row["second_probe"] < 2.0


def test_a_second_recognizer_of_another_length_is_refused(tmp_path):
    tfjs_files.save_mobilenet(tmp_path / "m.json")
    config, params = tfjs.from_graph(tmp_path / "m.json")
    folder = exports.save_export(tmp_path / "m", config, {"recognizer": params})
    config = runs.tiny_config()
    config.task = "id2face"
    config.loss.second_recognizer, config.loss.second_dim = str(folder), 9
    with pytest.raises(ValueError, match="set loss.second_dim=8"):
        train.train_and_evaluate(config, tmp_path / "run")


def test_without_a_validation_split_there_is_a_grid_and_no_heldout_loss(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        pipeline, "open_heldout", lambda config: (pipeline.open_source(config), "train")
    )
    train.train_and_evaluate(runs.tiny_config(train__num_steps=3), tmp_path)
    assert not [x for x in lines(tmp_path) if "validation/loss" in x]
    assert len(list((tmp_path / "samples").iterdir())) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__image_size": 40}, "data.image_size is 40.*need a multiple of 16"),
        ({"train__log_every": 0}, "train.log_every is 0; use a whole number, 1 or"),
    ],
)
def test_a_config_that_cannot_run_is_refused_at_once(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train.train_and_evaluate(runs.tiny_config(**changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_empty_quarter_of_time_is_no_number():
    rows = [{"x": 0.0, "x_t1": 0.0, "x_t2": 3.0}, {"x": 1.0, "x_t1": 0.0, "x_t2": 0.0}]
    assert metrics.means(rows) == {"x": 0.5, "x_t2": 3.0}
    assert metrics.means([]) == {}


def test_the_timer_shares_out_the_time(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 10.0])
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: next(clock))
    timer = metrics.Timer()
    with timer("data"):
        pass
    assert timer.report() == (10.0, {"data": 0.2})


def test_goodput_counts_lost_steps_and_set_up_as_lost(tmp_path):
    first = metrics.Goodput(tmp_path, 0)
    rows = [{"step": 0, "other": 1.0}]
    first.add(360.0)  # set-up
    rows += [{"step": step} | first.add(180.0, 180.0) for step in (10, 20, 30)]
    assert rows[-1]["run/hours"] == pytest.approx(0.25)
    assert rows[-1]["run/goodput"] == pytest.approx(0.6)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / metrics.JSONL).write_text(text)
    # The newest checkpoint is of step 20: the last 180 s bought nothing.
    again = metrics.Goodput(tmp_path, 20)
    assert (again.hours, again.share) == pytest.approx((0.25, 0.4))
    again.add(360.0, 360.0)
    assert (again.hours, again.share) == pytest.approx((0.35, 4 / 7))


def test_a_profile_of_the_steps_asked_for_is_written(tmp_path):
    window = metrics.ProfileWindow(tmp_path, first_step=2, num_steps=1)
    for step in range(5):
        window.at(step, jax.numpy.ones(()))
        assert bool(list(tmp_path.rglob("*.xplane.pb"))) == (step >= 3)
    none = metrics.ProfileWindow(tmp_path / "none", first_step=0, num_steps=1)
    none.at(0, None)
    none.close()
    assert not (tmp_path / "none").exists()
