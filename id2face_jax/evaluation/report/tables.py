"""Cells and grids of Markdown tables: what `table` and `attack_table` share."""


def cell(fields: dict, name: str, scale: int | float = 1, digits: int = 3) -> str:
    """A value with its interval, such as "3.1 (2.0-4.4)"; a dash when there is none."""
    value = fields.get(name)
    if value is None:
        return "–"
    text = f"{value * scale:.{digits}f}"
    interval = fields["intervals"].get(name)
    low, high = (f"{bound * scale:.{digits}f}" for bound in interval or (0, 0))
    if low != high:
        text += f" ({low} to {high})"
    return text


def grid(headings: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
