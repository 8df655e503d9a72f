"""Charts and picture grids of the report, as PNG bytes.

Owns what is drawn, not what it means: the sentences are in `report`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import figure as mpl_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg

from id2face_jax import charts
from id2face_jax.evaluation.metrics import privacy

# Okabe and Ito's palette: told apart by color-blind readers too.
COLORS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#000000",
    "#999999",
    "#F0E442",
    "#7F3C8D",
)
_COARSE = 20  # fine cosine bins in a drawn one


def _with_legend(figure, panels) -> bytes:
    """One legend for all panels, below them, where it hides nothing."""
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=6,
            frameon=False,
            fontsize=8,
        )
    return charts.png(figure)


def _plain(axes, title: str, x: str, y: str):
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def recognition_bars(result: dict, field: str, clean_field: str) -> bytes:
    """One panel a recognizer: how many of 100 photos are recognized, per method."""
    names = list(result["recognizers"])
    figure, panels = charts.new(len(names), 5.2 * len(names), 3.6)
    for axes, name in zip(panels, names, strict=True):
        for place, row in enumerate(result["rows"]):
            figures = row["recognizers"][name]
            value = figures[field]
            if value is None:
                continue
            axes.bar(place, 100 * value, color=COLORS[0])
            low, high = figures["intervals"].get(field, (value, value))
            axes.plot([place, place], [100 * low, 100 * high], color="black")
        clean = result["recognizers"][name].get(clean_field)
        if clean is not None:
            axes.axhline(
                100 * clean, color=COLORS[5], linestyle="--", label="untouched"
            )
            axes.legend(frameon=False)
        methods = [row["method"] for row in result["rows"]]
        axes.set_xticks(range(len(methods)), methods, rotation=40, ha="right")
        axes.set_ylim(0, 103)
        _plain(axes, f"by {name}", "", "recognized, % of comparisons")
    return charts.png(figure)


def _coarse(counts: np.ndarray) -> np.ndarray:
    return counts.reshape(-1, _COARSE).sum(axis=1) / max(counts.sum(), 1)


def score_histograms(
    parts: dict[str, dict[str, Float[np.ndarray, " bins"]]],
    thresholds: dict[str, float | None],
) -> bytes:
    """One panel a recognizer: score histograms over privacy.BINS, by label.

    parts: recognizer to label to counts. thresholds: drawn where known.
    """
    figure, panels = charts.new(len(parts), 5.2 * len(parts), 3.4)
    edges = privacy.BINS[::_COARSE]
    for axes, (name, histograms) in zip(panels, parts.items(), strict=True):
        for color, (label, counts) in zip(COLORS, histograms.items(), strict=False):
            axes.stairs(
                _coarse(counts), edges, label=label, color=color, fill=True, alpha=0.25
            )
            axes.stairs(_coarse(counts), edges, color=color)
        if thresholds[name] is not None:
            axes.axvline(thresholds[name], color="black", linestyle=":")
        axes.set_xlim(-0.5, 1.02)
        _plain(axes, f"by {name}", "similarity (cosine)", "share of pairs")
    return _with_legend(figure, panels)


def det_curves(
    curves: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]],
) -> bytes:
    """One panel a recognizer: share of own photos missed over false accepts."""
    figure, panels = charts.new(len(curves), 5.2 * len(curves), 3.8)
    for axes, (name, methods) in zip(panels, curves.items(), strict=True):
        for color, (method, (false_accepts, missed)) in zip(
            COLORS, methods.items(), strict=False
        ):
            seen = false_accepts > 0
            axes.plot(
                100 * false_accepts[seen], 100 * missed[seen], label=method, color=color
            )
        percent = np.geomspace(0.01, 100.0, 100)
        axes.plot(percent, 100 - percent, color="gray", linestyle=":", label="chance")
        axes.set_xscale("log")
        axes.set_xlim(0.01, 100)
        _plain(
            axes,
            f"by {name}",
            "other people taken for the person, %",
            "own photos not recognized, %",
        )
    return _with_legend(figure, panels)


def fairness_bars(row: dict, name: str, field: str) -> bytes:
    """One panel an axis: detection and recognition in each bin, by one recognizer."""
    axes_names = list(dict.fromkeys(entry["axis"] for entry in row["fairness"]))
    figure, panels = charts.new(len(axes_names), 3.6 * len(axes_names), 3.8)
    for axes, axis in zip(panels, axes_names, strict=True):
        entries = [entry for entry in row["fairness"] if entry["axis"] == axis]
        for place, entry in enumerate(entries):
            for offset, fields, key, color, label in (
                (-0.2, entry, "detection_rate", COLORS[4], "face found"),
                (0.2, entry["recognizers"][name], field, COLORS[0], "recognized"),
            ):
                value = fields[key]
                if value is None:
                    continue
                axes.bar(
                    place + offset,
                    100 * value,
                    0.38,
                    color=color,
                    label=label if place == 0 else None,
                )
                low, high = fields["intervals"].get(key, (value, value))
                axes.plot([place + offset] * 2, [100 * low, 100 * high], color="black")
        labels = [
            f"{entry['bin'].split(' (')[0]}\nN={entry['num_photos']}"
            for entry in entries
        ]
        axes.set_xticks(range(len(labels)), labels, fontsize=8, rotation=50)
        axes.set_ylim(0, 103)
        _plain(axes, axis.replace("_", " "), "", "% of photos")
    return _with_legend(figure, panels)


def picture_grid(
    columns: dict[str, UInt8[np.ndarray, "n s s 3"]], labels: Sequence[str]
) -> bytes:
    """Crops side by side: a column a method, a row a face with its label."""
    num = len(labels)
    figure = mpl_figure.Figure(figsize=(1.25 * len(columns) + 1.3, 1.3 * num + 0.3))
    FigureCanvasAgg(figure)
    panels = figure.subplots(num, len(columns), squeeze=False)
    figure.subplots_adjust(0.16, 0.0, 1.0, 1 - 0.3 / (1.3 * num + 0.3), 0.02, 0.02)
    for place, (name, crops) in enumerate(columns.items()):
        for row in range(num):
            axes = panels[row, place]
            axes.imshow(crops[row])
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(name, fontsize=9)
            if place == 0:
                axes.set_ylabel(
                    labels[row], rotation=0, ha="right", va="center", fontsize=8
                )
    return charts.png(figure)


def heat_grid(
    images: UInt8[np.ndarray, "n s s 3"],
    maps: Float[np.ndarray, "t n s s"],
    titles: Sequence[str],
) -> bytes:
    """Photos and their maps in [0, 1], a row a face, a column a title."""
    num = len(images)
    figure = mpl_figure.Figure(
        figsize=(1.5 * (len(titles) + 1) + 0.6, 1.5 * num + 0.3), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(num, len(titles) + 1, squeeze=False)
    low, high = float(maps.min()), float(maps.max())
    for row in range(num):
        panels[row, 0].imshow(images[row])
        for column in range(len(titles)):
            shown = panels[row, column + 1].imshow(
                maps[column, row], cmap="magma", vmin=low, vmax=high
            )
    for place, title in enumerate(["photo", *titles]):
        panels[0, place].set_title(title, fontsize=9)
    for axes in panels.ravel():
        axes.set_axis_off()
    figure.colorbar(shown, ax=panels, shrink=0.7)
    return charts.png(figure)
