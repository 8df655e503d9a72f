"""An empty chart, and a chart as PNG bytes.

Matplotlib's object interface with the Agg canvas: no display, no global state.
"""

import io

import numpy as np
from matplotlib import figure as mpl_figure
from matplotlib.backends.backend_agg import FigureCanvasAgg


def new(columns: int, width: float, height: float):
    """(figure, its `columns` axes in an array); sizes in inches."""
    figure = mpl_figure.Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, np.atleast_1d(figure.subplots(1, columns))


def png(figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
