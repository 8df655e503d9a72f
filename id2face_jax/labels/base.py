"""What every format of labels shares: which pictures there are, and what is rewritten.

Owns `Pictures`, which tells the file that a label names; `Labels`, what a format's
module has read. Leaves the formats to `coco`, `yolo`, `voc` and `table`, and writing to
`anonymize.batch`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import PurePath

from id2face_jax.labels import checks

# Tells of a picture's path in the dataset whether its result was written.
IsWritten = Callable[[PurePath], bool]


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """A file of labels.

    Attributes:
      path: in the dataset.
      rewrite: its content, and which pictures have a result, to its new content, or
        None if nothing is left of it, and the names of what was dropped: pictures, and
        fields (see `field`). Content that needs no change is to come back as it is.
    """

    path: PurePath
    rewrite: Callable[[bytes, IsWritten], tuple[bytes | None, list[str]]]


@dataclasses.dataclass
class Labels:
    """What the labels of a dataset say.

    Attributes:
      files: all label files.
      sizes: picture -> width and height that its labels are for.
      missing: picture that is named but not there -> the label file that names it.
      maps: pictures that are labels themselves.
      absent: splits that are named and not there.
    """

    files: list[LabelFile] = dataclasses.field(default_factory=list)
    sizes: dict[PurePath, tuple[int, int]] = dataclasses.field(default_factory=dict)
    missing: dict[PurePath, PurePath] = dataclasses.field(default_factory=dict)
    maps: set[PurePath] = dataclasses.field(default_factory=set)
    absent: list[str] = dataclasses.field(default_factory=list)


class Pictures:
    """The pictures of a dataset, by the names that labels give them."""

    def __init__(
        self, root: pathlib.Path, paths: Iterable[PurePath], suffixes: Collection[str]
    ):
        """Args:

        root: of the dataset.
        paths: of the pictures, from there.
        suffixes: of all pictures, also of other datasets; in lower case.
        """
        self.root, self.suffixes = root.resolve(), suffixes
        self.paths = set(paths)
        self._by_name: dict[str, list[PurePath]] = {}
        for path in sorted(self.paths):
            self._by_name.setdefault(path.name, []).append(path)

    def find(self, name: str, near: Sequence[PurePath]) -> PurePath | None:
        """The picture that a label means, or None.

        Args:
          name: as the label gives it: a path that ends like the picture's.
          near: folders to look in first.

        Raises ValueError if several pictures could be meant.
        """
        parts = self.parts_of(name)
        if not parts:
            return None
        for folder in near:
            path = folder / PurePath(*parts)
            if path in self.paths:
                return path
        if self._is_foreign(name):
            # The dataset has moved since: what it ends with is still here.
            for start in range(1, len(parts)):
                for folder in near:
                    path = folder / PurePath(*parts[start:])
                    if path in self.paths:
                        return path
        length = len(parts)
        found = [
            path
            for path in self._by_name.get(parts[-1], ())
            if path.parts[-length:] == parts
        ]
        if len(found) > 1:
            raise ValueError(
                f"{name} could be {found[0]} or {found[1]}; name its folder in the "
                "labels"
            )
        return found[0] if found else None

    def _is_foreign(self, name: str) -> bool:
        path = PurePath(name.strip().replace("\\", "/"))
        is_absolute = path.is_absolute() or path.parts[0].endswith(":")
        return is_absolute and not path.is_relative_to(self.root)

    def parts_of(self, name: str) -> tuple[str, ...]:
        """A label's path, from the dataset on if it is absolute and leads there."""
        path = PurePath(name.strip().replace("\\", "/"))
        if path.is_absolute() and path.is_relative_to(self.root):
            path = path.relative_to(self.root)
        # No path leads out of the dataset.
        return tuple(p for p in path.parts if p not in ("..", path.anchor))


def field(name: str) -> str:
    """How a field that is dropped from every entry stands among what was dropped."""
    return f"field {checks.shown(name)}"


def find_files(root: pathlib.Path, *patterns: str) -> list[pathlib.Path]:
    """The files that match a pattern, in order; no pipes, which nobody may open."""
    found = {path for pattern in patterns for path in root.glob(pattern)}
    return sorted(path for path in found if path.is_file())


def copied(picture: PurePath):
    """A `rewrite` for the labels of one picture: as they are, or not at all."""

    def rewrite(content: bytes, is_written: IsWritten):
        return (content, []) if is_written(picture) else (None, [picture.name])

    return rewrite


def unchanged(content: bytes, is_written: IsWritten):
    """A `rewrite` for what speaks of no picture."""
    return content, []
