"""The evidence as a page of tables."""

from collections.abc import Mapping, Sequence


def page(content: Mapping) -> str:
    """evidence.md."""
    recognizers = "; ".join(
        f"{r['name']}: cosine {r['threshold']} "
        f"({r['pairs']:,} pairs of different people)"
        for r in content["recognizers"]
    )
    many = content["id2face"]
    memory = ", ".join(
        f"{row['peak_mb']:,} MB with {num} photos"
        for num, row in content["memory"].items()
    )
    parts = [
        "# What it does to real photos",
        f"{content['photos']} photos of {content['people']} people whom the model was "
        f"not trained on, and {many['files'] - content['photos']} odd files. Made by "
        "[evidence.py](../../studies/anonymizing/evidence.py), which says how; numbers "
        f"in [evidence.json](evidence.json). {content['cores']} cores, load "
        f"{content['load_before']:.1f} before. A face counts as known again where an "
        f"independent recognizer reaches its threshold at FAR 0.1 % ({recognizers}).",
        "## Side by side",
        _side_by_side(content),
        f"Files of id2face by state: {_counts(many['states'])}. Faces: "
        f"{_counts(many['face_states'])}. Attempts a face took: "
        f"{_counts(many['attempts'])}. Places that may be faces, blurred beside these: "
        f"{many['covered']}.",
        "## Odd files",
        _odd(content),
        f"deface over the folder of odd files ends at the first that it cannot read "
        f"(exit code {content['deface']['odd_folder_code']}), so each had a run of its "
        "own.",
        "## Speed and memory",
        _speed(content["speed"]),
        f"Peak memory: {memory}; {many['peak_mb']:,} MB with all {many['files']} "
        "files, among them large ones.",
        "## A video",
        _video(content["video"]),
    ]
    return "\n\n".join(parts) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |"
        for line in lines
    )


def _side_by_side(content: Mapping) -> str:
    both = content["id2face"], content["deface"]
    rows = [
        ("files given", *(x["files"] for x in both)),
        ("exit code", both[0]["code"], f"{both[1]['code']} (photos)"),
        ("results written", *(x["outputs"] for x in both)),
        ("results that are the input", *(x["unchanged_outputs"] for x in both)),
        ("faces in their originals, second detector", *(x["faces"] for x in both)),
        ("of these untouched", *(x["untouched_faces"] for x in both)),
    ]
    for recognizer in content["recognizers"]:
        name = recognizer["name"]
        rows += [
            (
                f"faces known again by {name}",
                *(x["recognized_faces"][name] for x in both),
            ),
            (
                f"results with such a face, {name}",
                *(x["recognized_outputs"][name] for x in both),
            ),
        ]
    rows.append(("seconds", both[0]["seconds"], f"{both[1]['seconds']} (photos)"))
    rows.append(("peak memory, MB", *(x["peak_mb"] for x in both)))
    return table(("", "id2face", f"deface {content['deface']['version']}"), rows)


def _odd(content: Mapping) -> str:
    rows = []
    for name, mine in content["id2face"]["odd"].items():
        other = content["deface"]["odd"][name]
        state = mine["state"]
        rows.append((name, state, mine["result"], other["code"], other["result"]))
    head = ("file", "id2face", "it wrote", "deface's exit code", "it wrote")
    return table(head, rows)


def _speed(rows: Sequence[Mapping]) -> str:
    names = (
        ("batch_size", "--batch-size"),
        ("seconds_a_face", "seconds a face"),
        ("starting_seconds", "start, s"),
        ("first_run_seconds", "first run with compilation, s"),
        ("peak_mb", "peak memory, MB"),
    )
    body = [[row[key] for key, _ in names] for row in rows]
    return table([title for _, title in names], body)


def _video(clip: Mapping) -> str:
    flicker = clip["flicker"] or {}
    rows = [
        ("state, exit code", f"{clip['state']}, {clip['code']}"),
        ("frames", " -> ".join(map(str, clip["frames"]))),
        ("frames a second", " -> ".join(map(str, clip["rate"]))),
        ("seconds", " -> ".join(map(str, clip["length"]))),
        ("times of frames the same", clip["same_times"]),
        ("sound the same, packet by packet", clip["same_sound"]),
        ("faces in the original's frames", clip["faces"]),
        ("of these untouched", clip["untouched_faces"]),
        *(
            (f"known again by {name}", count)
            for name, count in clip["recognized_faces"].items()
        ),
        ("blurred frames", clip["blurred_frames"]),
        *((f"flicker: {name}", value) for name, value in flicker.items()),
        ("seconds it took", clip["seconds"]),
        ("peak memory, MB", clip["peak_mb"]),
    ]
    return table(("clip of the astronaut", ""), rows)
