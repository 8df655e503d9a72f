"""The result as Markdown. Reads the result's dict alone: a stored one gives the same.

Owns the words of benchmark.md. Leaves the tables' grid to `evaluation.report.tables`.
"""

from collections.abc import Iterator

from id2face_jax.evaluation.report.tables import grid

_MB = 2**20


def to_markdown(result: dict) -> str:
    """The whole page: the bar first, then what it rests on."""
    parts = [_heading(result)]
    for name, section in _SECTIONS.items():
        if result.get(name) is not None:
            parts += section(result[name])
    return "\n\n".join(parts) + "\n"


def _heading(result: dict) -> str:
    machine, load = result["conditions"], result["conditions"]["load_average"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    quick = "**Made with --quick: sizes of a smoke test, no measurement.**\n\n"
    return (
        f"# Benchmark\n\n{quick if result['quick'] else ''}"
        f"{result['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['device']}; load average {load:.1f} as the run began; {versions}. "
        f"Medians of repetitions in turns; {result['model']['steps']} DDIM steps at "
        f"{result['model']['image_size']} px where nothing else is said."
    )


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def _times(x: dict) -> str:
    low, high = _seconds(x["low"]), _seconds(x["high"])
    return f"{_seconds(x['median'])} ({low} to {high}, {x['repeats']}x)"


def _bars(lines: list[dict]) -> Iterator[str]:
    rows = []
    for line in lines:
        value, verdict = line["measured"], {True: "met", False: "**missed**"}
        measured = "-" if value is None else f"{value:.2f} {line['unit']}"
        said = verdict.get(line["met"], "not measured")
        rows.append([line["figure"], line["must"], measured, said])
    yield grid(["figure", "must", "measured", "verdict"], rows)


def _machine(ceilings: dict) -> Iterator[str]:
    yield "## The machine's ceilings, float32"
    names = {"product": "matrix product", "convolution": "3x3 convolution, 256 wide"}
    rows = [
        [
            names[kind],
            f"{ceilings[kind]['flops'] / 1e9:.1f}",
            ", ".join(f"{k} {v:.1f}" for k, v in ceilings[kind]["gflops"].items()),
            f"{ceilings[kind]['ceiling']:.1f}",
        ]
        for kind in names
    ]
    yield grid(["operation", "GFLOP", "GFLOP/s by library", "ceiling GFLOP/s"], rows)


def _sampler(x: dict) -> Iterator[str]:
    yield (
        f"## Sampler\n\n{x['parameters'] / 1e6:.2f} M parameters, "
        f"{x['unet_parameters'] / 1e6:.2f} M of them in the UNet."
    )
    head = ["batch", "steps", "seconds", "faces/s", "GFLOP a face", "GFLOP/s"]
    rows = [
        [
            str(row["batch"]),
            str(row["steps"]),
            _times(row["seconds"]),
            f"{row['faces_per_s']:.2f}",
            f"{row['gflop_per_face']:.2f}",
            f"{row['gflops']:.1f}",
            f"{100 * row['share_of_ceiling']:.0f} %",
        ]
        for row in x["rows"]
    ]
    yield grid([*head, "of the product ceiling"], rows)


def _training(x: dict) -> Iterator[str]:
    yield "## Train step"
    yield grid(
        ["examples", "seconds", "examples/s", "GFLOP/s", "of ceiling", "wait for data"],
        [
            [
                str(x["examples"]),
                _times(x["seconds"]),
                f"{x['examples_per_s']:.2f}",
                f"{x['gflops']:.1f}",
                f"{100 * x['share_of_ceiling']:.0f} %",
                f"{100 * x['wait_share']:.2f} %",
            ]
        ],
    )


def _devices(x: dict) -> Iterator[str]:
    rows = [[name, _times(times)] for name, times in x["devices"].items()]
    yield (
        f"On one and on more host devices of the same cores, {2 * x['pairs']} "
        "examples, without the identity loss; throughput kept: "
        f"{100 * x['kept']:.0f} %. Peak memory of both together: "
        f"{x['peak_bytes'] / _MB:.0f} MiB."
    )
    yield grid(["devices", "a step"], rows)


def _startup(x: dict) -> Iterator[str]:
    first, compiled = x["first_picture"], x["compile"]
    yield "## Start-up"
    rows = [
        [f"command to first picture, {kind}", _times(first[kind])]
        for kind in ("cold", "warm")
    ]
    for kind, parts in compiled.items():
        for part, times in parts.items():
            rows.append([f"sampler, {kind}: {part}", _times(times)])
    rows.append(["peak memory", f"{first['peak_bytes'] / _MB:.0f} MiB"])
    yield grid(["what", "measured"], rows)


def _stages(x: dict) -> Iterator[str]:
    states = ", ".join(f"{num} {state}" for state, num in x["states"].items())
    yield (
        f"## Stages of anonymize\n\n{x['photos']} photos ({states}), {x['faces']} "
        f"faces, in one warm process: {x['faces_per_s']:.2f} faces/s."
    )
    rows = [
        [name, _seconds(seconds / x["photos"]), f"{100 * x['shares'][name]:.1f} %"]
        for name, seconds in x["stages"].items()
    ]
    yield grid(["stage", "a photo", "share"], rows)


def _folders(x: dict) -> Iterator[str]:
    few, many = x["photos"]
    yield (
        "## Folders, as commands\n\nStart-up is in the seconds, and not in the time "
        "per face, which is of the photos after the first."
    )
    faces = dict(zip(map(str, x["photos"]), x["seconds_per_face"], strict=True))
    rows = [
        [
            num,
            _times(times),
            _seconds(faces[num]) if num in faces else "-",
            f"{x['peak_bytes'][num] / _MB:.0f} MiB",
        ]
        for num, times in x["seconds"].items()
    ]
    yield grid(["photos", "seconds", "a face", "peak memory"], rows)


def _deface(x: dict) -> Iterator[str]:
    rows = [
        [num, _seconds(one["seconds"]), f"{one['peak_bytes'] / _MB:.0f} MiB"]
        for num, one in x.items()
    ]
    yield "`deface` (a blur, unverified) on the same photos:"
    yield grid(["photos", "seconds", "peak memory"], rows)


def _comparison(x: dict) -> Iterator[str]:
    yield "## Beside PyTorch, in turns on the same threads"
    rows = []
    for name, what in (
        ("samplers", "our sampler / diffusers' UNet of equal parameters"),
        ("identical", "the same Stable-Diffusion-shaped UNet"),
    ):
        rows += [
            [f"{what}, batch {row['batch']}", *_pair(row)] for row in x[name]["rows"]
        ]
    training = x["training"]
    rows.append([f"train step, {training['examples']} examples", *_pair(training)])
    yield grid(["what", "ours", "PyTorch", "ratio"], rows)
    yield "What each side computes (matrix products and convolutions alone):"
    rows = []
    for name, unit in (
        ("samplers", "gflop_per_face"),
        ("training", "gflop_per_step"),
        ("identical", "gflop_per_pass"),
    ):
        for side in ("ours", "torch"):
            one = x[name]
            rows.append(
                [
                    name,
                    side,
                    f"{one['parameters'][side] / 1e6:.2f} M",
                    f"{one[unit][side]:.2f}",
                ]
            )
    yield grid(["comparison", "side", "UNet parameters", "GFLOP"], rows)


def _pair(row: dict) -> list[str]:
    return [_times(row["ours"]), _times(row["torch"]), f"{row['ratio']:.2f} x"]


_SECTIONS = {
    "bars": _bars,
    "machine": _machine,
    "sampler": _sampler,
    "training": _training,
    "devices": _devices,
    "startup": _startup,
    "stages": _stages,
    "folders": _folders,
    "deface": _deface,
    "comparison": _comparison,
}
