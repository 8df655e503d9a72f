"""CSV: tables in which cells name pictures.

A column names pictures if one of its cells is the path of one. Those columns stay, and
of the others the ones that the user names: a table beside photos may hold anything. In
what stays, a link to the original and what tells it again (see `checks`) is emptied,
and an absolute path becomes one from the table on. A row with a picture that has no
result goes.
"""

import csv
import io
import pathlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import PurePath

from id2face_jax.labels import checks
from id2face_jax.labels.base import (
    IsWritten,
    LabelFile,
    Labels,
    Pictures,
    field,
    find_files,
)

SUFFIXES = (".csv", ".tsv")


# The longest cell: a vector of a network, or a picture, which is told later.
csv.field_size_limit(2**27)


def read(
    root: pathlib.Path,
    pictures: Pictures,
    keep_links: bool,
    columns: Collection[str] = (),
) -> Labels | None:
    """The tables in a folder that name its pictures; None if there are none.

    columns: that stay beside those of pictures: their names in the first row, or, where
      that names a picture, their numbers from 1.
    """
    labels = Labels()
    for path in find_files(root, *("*" + suffix for suffix in SUFFIXES)):
        read_table(path.relative_to(root), root, pictures, keep_links, labels, columns)
    return labels if labels.files else None


def read_table(
    name: PurePath,
    root: pathlib.Path,
    pictures: Pictures,
    keep_links: bool,
    labels: Labels,
    columns: Collection[str] = (),
) -> set[PurePath]:
    """Adds one table to the labels, if it names pictures; returns those."""
    rows = list(_rows(name, (root / name).read_bytes()))
    naming, found, lost = set(), set(), {}
    for _, cells in rows:
        for column, cell in enumerate(cells):
            if not _is_name(cell, pictures):
                continue
            picture = pictures.find(cell, (name.parent,))
            if picture is None:
                lost.setdefault(column, []).append(pictures.parts_of(cell))
            else:
                naming.add(column)
                found.add(picture)
    if found:
        for column in naming:
            labels.missing |= {PurePath(*p): name for p in lost.get(column, ()) if p}
        titles = _titles(rows, pictures)
        stay = naming | {i for i, title in enumerate(titles) if title in columns}
        rewrite = _rewrite(name, pictures, naming, stay, keep_links)
        labels.files.append(LabelFile(name, rewrite))
    return found


def _is_name(cell: str, pictures: Pictures) -> bool:
    suffix = PurePath(cell.strip()).suffix.lower()
    return suffix in pictures.suffixes and not checks.is_link(cell)


class _Recorder:
    """Lines for `csv.reader`, which remembers those of the row that was read last."""

    def __init__(self, lines: Iterable[str]):
        self._lines, self._read = iter(lines), []

    def __iter__(self):
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._read.append(line)
        return line

    def take(self) -> str:
        row, self._read = "".join(self._read), []
        return row


def _rows(name: PurePath, content: bytes) -> Iterator[tuple[str, list[str]]]:
    """Rows as they stand in the file, and their cells."""
    text = content.decode("utf-8", "surrogateescape")
    recorder = _Recorder(io.StringIO(text, newline=""))
    reader = csv.reader(recorder, delimiter=_delimiter(text), strict=True)
    try:
        for cells in reader:
            yield recorder.take(), cells
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}") from None


def _delimiter(text: str) -> str:
    """What the first line has most of."""
    first = text.split("\n", 1)[0]
    return max(",;\t|", key=first.count)


def _titles(rows: Sequence[tuple[str, list[str]]], pictures: Pictures) -> list[str]:
    """The names of the columns: the first row, or numbers if that names a picture."""
    first = rows[0][1]
    if any(_is_name(cell, pictures) for cell in first):
        return [str(number + 1) for number in range(max(len(c) for _, c in rows))]
    return [cell.strip().removeprefix("\ufeff") for cell in first]


def _rewrite(
    name: PurePath,
    pictures: Pictures,
    naming: set[int],
    stay: set[int],
    keep_links: bool,
):
    def rewrite(content: bytes, is_written: IsWritten):
        text = content.decode("utf-8", "surrogateescape")
        rows = list(_rows(name, content))
        titles, fields = _titles(rows, pictures), set()
        kept, dropped = [], []
        for row, cells in rows:
            named = {i: cells[i] for i in naming if i < len(cells)}
            named = {i: cell for i, cell in named.items() if _is_name(cell, pictures)}
            found = {i: pictures.find(c, (name.parent,)) for i, c in named.items()}
            if not all(p is not None and is_written(p) for p in found.values()):
                dropped += sorted(named.values())
                continue
            new = list(cells)
            for index, cell in enumerate(cells):
                title = titles[index] if index < len(titles) else str(index + 1)
                if index not in stay:
                    fields.add(title)
                elif index not in named and checks.tells_original(title, cell):
                    new[index] = ""
                    fields.add(title)
                elif index in found and PurePath(cell.strip()).is_absolute():
                    new[index] = found[index].relative_to(name.parent).as_posix()
                elif checks.is_link(cell) and not keep_links:
                    new[index] = ""
            new = [cell for index, cell in enumerate(new) if index in stay]
            kept.append(row if new == cells else _line(new, _delimiter(text)))
        dropped += map(field, sorted(fields))
        return "".join(kept).encode("utf-8", "surrogateescape"), dropped

    return rewrite


def _line(cells: list[str], delimiter: str) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
