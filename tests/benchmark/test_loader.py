"""The loader's benchmark: from a config to the cores of a host."""

from id2face_jax.benchmark import loader
from tests import runs


def test_a_config_is_measured_on_stand_ins(capsys):
    config = ["--config", "configs/smoke_full_scale.py"]
    assert loader.main([*config, "--seconds", "0.05"]) == 0
    told = capsys.readouterr().out
    assert "pairs/s a core" in told
    assert "v5p host, 4 chips at 45 % MFU" in told


def test_cores_follow_from_speed_and_work():
    # 4 x 459e12 x 0.5 operations a second are 459 pairs of 2e12; 100 pairs/s a core.
    told = loader.report(runs.tiny_config(), 100.0, flops=2e12, mfu=0.5)
    assert "459 pairs/s, 4.6 cores of the 104 it has" in told


def test_records_that_are_not_there_are_an_error(tmp_path, capsys):
    config = ["--config", "configs/smoke.py", "--records", str(tmp_path)]
    assert loader.main(config) == 1
    assert "holds no records" in capsys.readouterr().err
