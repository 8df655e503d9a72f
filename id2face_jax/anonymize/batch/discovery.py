"""Which files a run reads, and where each result goes.

Owns the meaning of INPUT and --out: files, patterns and folders in; one file, or a tree
that mirrors the folders, out. What is itself a result of this program is left out, two
inputs are never written to one file, and what cannot be used becomes a job with an
error, so that it is counted. Leaves reading and writing to `runner`.
"""

import dataclasses
import functools
import glob
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from id2face_jax.anonymize.batch import state
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.video import container
from id2face_jax.errors import UsageError

SUFFIXES = (*images.FORMATS, *container.SUFFIXES)
# How AppleDouble files begin.
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_ADDED = "_anonymized"  # to the name, where a result stands beside its source


@dataclasses.dataclass(frozen=True)
class Job:
    """One input, its output, and why it cannot be done, if it cannot.

    size: width and height that the picture's labels speak of, if they say.
    """

    source: pathlib.Path
    output: pathlib.Path
    error: str = ""
    size: tuple[int, int] | None = None

    def read_picture(self) -> images.Photo:
        """The picture; raises ValueError if there is none."""
        return images.read(self.source)


@dataclasses.dataclass(frozen=True)
class Found:
    """A file that an input names or holds, of any kind.

    Attributes:
      path: of the file.
      root: its place in the output tree is counted from here.
      error: why it cannot be used.
      is_named: the user named it, by itself or by a pattern; else its folder.
    """

    path: pathlib.Path
    root: pathlib.Path
    error: str = ""
    is_named: bool = False


def find(inputs: Sequence[str | os.PathLike], out: str | os.PathLike) -> list[Found]:
    """All files that the inputs name or hold, each once, less our own results.

    The one walk over the inputs: whatever else needs to know of their files takes this
    list. Symbolic links are followed, each folder once.
    """
    found: dict[pathlib.Path, Found] = {}
    is_result = _result_test()
    for name in inputs:
        for item in _expand(os.fspath(name), pathlib.Path(out), is_result):
            found.setdefault(item.path, item)
    return list(found.values())


def plan(
    inputs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    suffixes: Sequence[str] = SUFFIXES,
) -> list[Job]:
    """All jobs of a run, in the order of their outputs; see `find` and `jobs_of`.

    inputs: files, folders and patterns (`photos/**/*.jpg`).
    """
    return jobs_of(find(inputs, out), inputs, out, suffixes)


def jobs_of(
    found: Sequence[Found],
    inputs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    suffixes: Sequence[str] = SUFFIXES,
) -> list[Job]:
    """The jobs of what was found, in the order of their outputs.

    Args:
      found: see `find`.
      inputs: in which it was found.
      out: a file, if there is one input and it is a file; else a folder.
      suffixes: of the files that are taken from folders.

    Raises:
      UsageError: several inputs, or a folder, would go to one file.
    """
    out = pathlib.Path(out)
    chosen = [
        item
        for item in found
        if item.is_named or item.error or item.path.suffix.lower() in suffixes
    ]
    if is_file_name(out, suffixes):
        # A folder or a pattern is many inputs, whatever it finds today.
        if len(chosen) != 1 or chosen[0].path != pathlib.Path(inputs[0]):
            raise UsageError(f"{len(chosen)} inputs cannot go to one file, {out}")
        return _checked([Job(chosen[0].path, out, chosen[0].error)])
    jobs = [Job(item.path, _output(item, out), item.error) for item in chosen]
    return sorted(_checked(jobs), key=lambda job: (job.output, job.source))


def is_file_name(out: str | os.PathLike, suffixes: Sequence[str] = SUFFIXES) -> bool:
    """Whether --out means a file: it ends like one, and no folder has its name."""
    out = pathlib.Path(out)
    return out.suffix.lower() in suffixes and not out.is_dir()


def for_dry_run(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with outputs that nobody takes for results."""
    outputs = [job.output.with_name(job.output.name + ".boxes.png") for job in jobs]
    return [
        dataclasses.replace(job, output=output)
        for job, output in zip(jobs, outputs, strict=True)
    ]


def _expand(name: str, out: pathlib.Path, is_result) -> Iterator[Found]:
    path = pathlib.Path(name)
    if path.is_dir():
        yield from _walk(path, out, is_result)
    elif path.exists() or not glob.has_magic(name):
        error = "" if path.exists() else "is not there"
        if path.exists() and is_result(path):
            error = "is itself a result of id2face"
        yield Found(path, path.parent, error, is_named=True)
    else:
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            yield Found(path, path.parent, "matches no file")
        for match in map(pathlib.Path, matches):
            if match.is_file() and not is_result(match):
                yield Found(match, _fixed_part(name), is_named=True)


def _fixed_part(pattern: str) -> pathlib.Path:
    """The folders of a pattern before its first wildcard."""
    parts = pathlib.Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return pathlib.Path(*parts[:first])


def _walk(root: pathlib.Path, out: pathlib.Path, is_result) -> Iterator[Found]:
    """The files below a folder; not those of `out`, if it is one of its folders."""
    seen, todo = set(), [root]
    while todo:
        folder = todo.pop()
        try:
            status = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as error:
            yield Found(folder, root, f"cannot be opened: {error.strerror}")
            continue
        # A symbolic link may lead back to a folder that was walked already.
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.is_dir():
                if not _is_same(entry, out):
                    todo.append(entry)
            elif not is_result(entry) and not _is_shadow(entry):
                yield Found(entry, root)


def _is_shadow(path: pathlib.Path) -> bool:
    """Whether it is what macOS writes beside a file on foreign disks: ._a.jpg."""
    if not path.name.startswith("._") or not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) == _APPLE_DOUBLE
    except OSError:  # it is refused where it would be read
        return False


def _is_same(path: pathlib.Path, other: pathlib.Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _result_test() -> Callable[[pathlib.Path], bool]:
    """Tells whether a report in one of a file's folders lists it as a result."""
    outputs_in = functools.cache(state.outputs_in)

    def is_result(path: pathlib.Path) -> bool:
        path = path.absolute()
        return any(path in outputs_in(folder) for folder in path.parents)

    return is_result


def _output(item: Found, out: pathlib.Path) -> pathlib.Path:
    output = out / item.path.relative_to(item.root)
    if not _is_same(output, item.path):
        return output
    return output.with_name(f"{output.stem}{_ADDED}{output.suffix}")


def _checked(jobs: Sequence[Job]) -> list[Job]:
    """The jobs; those that would harm each other or their source have an error."""
    counts = Counter(job.output for job in jobs)
    checked = []
    for job in jobs:
        error = job.error
        if not error and counts[job.output] > 1:
            error = f"{counts[job.output]} inputs would be written to {job.output}"
        if not error and _is_same(job.source, job.output):
            error = "would be overwritten by its own result"
        checked.append(dataclasses.replace(job, error=error))
    return checked
