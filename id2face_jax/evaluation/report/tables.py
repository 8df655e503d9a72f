"""Tables, and their cells: what Markdown and HTML show alike."""

from typing import NamedTuple


class Table(NamedTuple):
    """Headings and lines of cells, all text."""

    headings: list[str]
    lines: list[list[str]]


class Section(NamedTuple):
    """A title, how to read what follows, and a table."""

    title: str
    text: str
    table: Table | None = None
    is_part: bool = False  # of the section before it


def cell(fields: dict, name: str, scale: int | float = 1, digits: int = 3) -> str:
    """A value with its interval, such as "3.1 (2.0 to 4.4)"; a dash without a value."""
    value = fields.get(name)
    if value is None:
        return "–"
    text = f"{value * scale:.{digits}f}"
    interval = fields["intervals"].get(name)
    low, high = (f"{bound * scale:.{digits}f}" for bound in interval or (0, 0))
    if low != high:
        text += f" ({low} to {high})"
    return text


def percent(value: float | None) -> str:
    """A share in [0, 1] as percent; a dash where it is not known."""
    return "–" if value is None else f"{100 * value:.1f}"


def grid(headings: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
