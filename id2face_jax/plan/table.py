"""An estimate as text for people and as JSON for programs."""

import dataclasses
from collections.abc import Sequence

from id2face_jax.plan.estimate import Estimate

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(num_bytes: float) -> str:
    """Bytes in the largest unit that leaves a whole number; powers of 1000."""
    power = 0
    while num_bytes >= 1000 and power < len(_UNITS) - 1:
        num_bytes, power = num_bytes / 1000, power + 1
    return f"{num_bytes:.3g} {_UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds, or milliseconds below one."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def to_json(estimate: Estimate) -> dict:
    """All fields, and what follows from them."""
    derived = {
        "num_chips": estimate.num_chips,
        "hbm_used_bytes": sum(estimate.memory.values()),
        "roofline_seconds": estimate.roofline_seconds,
        "mfu": estimate.mfu(estimate.seconds) if estimate.bounds else None,
        "roofline_mfu": (
            estimate.mfu(estimate.roofline_seconds) if estimate.bounds else None
        ),
    }
    return dataclasses.asdict(estimate) | derived


def to_text(estimate: Estimate) -> str:
    """A table of two columns, a fact a line."""
    return "\n".join(f"{name:34}{value}" for name, value in _rows(estimate))


def _rows(e: Estimate) -> Sequence[tuple[str, str]]:
    what = "train step" if e.program == "step" else "sampler"
    unit = "pairs" if e.program == "step" else "faces"
    mesh = " x ".join(f"{name}={size}" for name, size in e.mesh.items())
    used = sum(e.memory.values())
    rows = [
        (what, f"{e.topology}, {e.num_chips} chips, {mesh}, {e.batch} {unit}"),
        ("trainable parameters", f"{e.num_params / 1e6:.1f} M"),
        ("HBM a chip", f"{size(used)} of {size(e.hbm_bytes)}{_verdict(e)}"),
        *((f"  {name}", size(num)) for name, num in e.memory.items()),
        ("model FLOPs", f"{e.model_flops:.3g}"),
        ("FLOPs with recomputation", f"{e.flops:.3g}"),
    ]
    if not e.bounds:
        return rows
    if e.accessed_bytes is not None:
        rows.append(("HBM traffic a chip", size(e.accessed_bytes)))
    rows += [(f"  {name}", size(num)) for name, num in e.collectives.items()]
    rows += [(f"bound by {name}", duration(x)) for name, x in e.bounds.items()]
    roofline = e.roofline_seconds
    rows.append(("roofline, at best", f"{duration(roofline)}{_mfu(e, roofline)}"))
    if e.xla_seconds is not None:
        said = f"{duration(e.xla_seconds)}{_mfu(e, e.xla_seconds)}"
        if e.num_unknown:
            said += f", without {e.num_unknown} operations that it gives no time for"
        rows.append(("XLA's estimate", said))
    if e.kernel_seconds:
        label = "scheduled instructions, no stalls: a lower bound"
        rows.append(
            ("  attention kernels in it", f"{duration(e.kernel_seconds)}, {label}")
        )
    if e.hours is not None:
        source = "the roofline" if e.xla_seconds is None else "XLA's estimate"
        rows.append(("the config's images", f"{e.hours:.1f} hours by {source}"))
    how = f" with effort {e.effort:g}: a slower program" if e.effort else ""
    return [*rows, ("compiled here in", duration(e.compile_seconds) + how)]


def _verdict(e: Estimate) -> str:
    return "" if e.fits else ": DOES NOT FIT"


def _mfu(e: Estimate, seconds: float) -> str:
    return f", estimated MFU {100 * e.mfu(seconds):.0f} %"
