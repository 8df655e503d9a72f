"""The part of a run's files that one machine of several takes.

A file belongs to a shard by the hash of where its result goes in the output folder. So
the division depends neither on the order of the files, nor on which others there are,
nor on where the folders lie on a machine.
"""

import dataclasses
import hashlib
import os
import pathlib
import re


@dataclasses.dataclass(frozen=True)
class Shard:
    """Number `index` of `count`, counted from 1."""

    index: int
    count: int

    def __post_init__(self):
        if not 1 <= self.index <= self.count:
            raise ValueError(
                f"shard {self.index}/{self.count} is none of {self.count}; they are "
                f"1/{self.count} to {self.count}/{self.count}"
            )

    def has(self, name: str | os.PathLike) -> bool:
        """Whether the result of this name, relative to the output folder, is ours."""
        digest = hashlib.sha256(os.fsencode(pathlib.PurePath(name).as_posix())).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    def report_of(self, path: pathlib.Path) -> pathlib.Path:
        """Where this shard's report stands, if the whole run's is `path`."""
        return path.with_name(f"{path.stem}-{self.index}-of-{self.count}{path.suffix}")


def parse(text: str) -> Shard:
    """The shard of "2/8"."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None:
        raise ValueError(f"shard is {text!r}; write which of how many, as 2/8")
    return Shard(int(match[1]), int(match[2]))


def reports_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The reports of all shards of the run whose whole report is `path`.

    Also those that are not finished: they are found by their journals.
    """
    names = re.compile(
        rf"\.?({re.escape(path.stem)}-\d+-of-\d+{re.escape(path.suffix)})(\.journal)?"
    )
    if not path.parent.is_dir():
        return []
    matches = map(names.fullmatch, os.listdir(path.parent))
    return sorted({path.with_name(match[1]) for match in matches if match})
