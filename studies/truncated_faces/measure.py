"""What is found of cut faces, on people held out from training; writes table.md.

.venv/bin/python -m studies.truncated_faces.measure PEOPLE
    [--work runs/truncated_faces] [--num 600] [--detector YUNET.onnx]

PEOPLE and --work are those of train.py. A face counts as found if a box holds the
middle of what is left of it and shares a third with it. --detector also counts what is
missed in the photos as they are: of the faces that it is sure of, those of which no
place holds a third.
"""

import argparse
import pathlib

import cv2
import numpy as np

from id2face_jax.anonymize.io import images
from id2face_jax.faces import finding
from id2face_jax.faces.boxes import overlap
from id2face_jax.faces.detect import CenterFaceDetector
from id2face_jax.faces.truncated import TruncatedFaceDetector
from studies.anonymizing import independent
from studies.truncated_faces import windows

OUT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "truncated_faces"

FIRST = 0.2  # the anonymizer's threshold
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
NAMES = ("CenterFace, 0.2", "and its doubts")
NAMES += tuple(f"and the second detector, {t}" for t in THRESHOLDS)
NAMES += ("all as `anonymize` asks them",)
SCALE = 250 / windows.SIDE  # windows at the size of LFW's photos


def is_found(box: np.ndarray, found: list) -> bool:
    middle = (box[:2] + box[2:]) / 2
    return any(
        np.all((face.box[:2] <= middle) & (middle <= face.box[2:]))
        and overlap(face.box, box)[0] > 1 / 3
        for face in found
    )


def share_held(box: np.ndarray, places: list) -> float:
    """The largest share of the box's area that lies in one place."""
    low = [np.maximum(place.box[:2], box[:2]) for place in places]
    high = [np.minimum(place.box[2:], box[2:]) for place in places]
    shared = [np.prod(np.maximum(b - a, 0)) for a, b in zip(low, high, strict=True)]
    return float(max(shared, default=0) / np.prod(box[2:] - box[:2]))


def columns(first, second, image: np.ndarray) -> list[list]:
    """What each way of NAMES finds."""
    sure = finding.look(first, image, FIRST)
    doubts = finding.doubtful(first, image, FIRST, sure)
    more = [
        face
        for face in second(image, min(THRESHOLDS))
        if not finding.is_part(face, sure + doubts)
    ]
    ways = [[face for face in more if face.score > t] for t in THRESHOLDS]
    asked = finding.doubtful(first, image, FIRST, sure, second)
    return [sure, sure + doubts, *(sure + doubts + way for way in ways), sure + asked]


def missed_as_they_are(people: pathlib.Path, first, second, eyes) -> str:
    """In words: of the faces that `eyes` see in all held-out photos, those missed."""
    folders = sorted(path for path in people.iterdir() if path.is_dir())
    num, faces, missed = 0, 0, np.zeros(len(NAMES), int)
    for photo in (p for f in folders[:: windows.HELD_OUT] for p in sorted(f.iterdir())):
        pixels = images.to_pixels(photo)
        ways = columns(first, second, pixels)
        num += 1
        for box, _ in eyes(pixels):
            seen = np.clip(box, 0, np.tile(pixels.shape[1::-1], 2))
            missed += [share_held(seen, way) < 1 / 3 for way in ways]
            faces += 1
    return (
        f"In all {num:,} photos of the held-out people, as they are, another detector "
        f"is sure of {faces:,} faces. CenterFace misses {missed[0]} of them, with its "
        f"doubts {missed[1]}, all as `anonymize` asks them {missed[-1]}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("people", type=pathlib.Path, metavar="PEOPLE")
    parser.add_argument("--work", type=pathlib.Path, default="runs/truncated_faces")
    parser.add_argument("--num", type=int, default=600)
    parser.add_argument("--detector", type=pathlib.Path, metavar="ONNX")
    args = parser.parse_args()
    photos = windows.find(args.people, args.work).testing
    first, second = CenterFaceDetector(), TruncatedFaceDetector()
    rng = np.random.default_rng(0)
    hits, faces, held = np.zeros(len(NAMES), int), 0, []
    for _ in range(args.num):
        window, boxes = windows.cut_window(photos, rng)
        large = cv2.resize(window, None, fx=SCALE, fy=SCALE)
        cut = windows.cut_boxes(boxes) * SCALE
        found = columns(first, second, large)
        faces += len(cut)
        hits += [sum(is_found(box, way) for box in cut) for way in found]
        places = second(large)
        held += [share_held(box, places) for box in cut if is_found(box, places)]
    places = np.zeros(len(NAMES), int)
    whole = photos.pixels[: args.num]
    for pixels in whole:
        places += [len(way) for way in columns(first, second, pixels)]
    more = []
    if args.detector is not None:
        eyes = independent.Detector(args.detector)
        more = ["", missed_as_they_are(args.people, first, second, eyes)]
    write(args, faces, hits, len(whole), places, held, more)


def write(args, faces, hits, num: int, places, held: list, more: list[str]) -> None:
    lines = [
        "# Faces that a border cuts",
        "",
        f"{faces} faces cut by the border of {args.num} windows, and {num} whole "
        "photos, of LFW's training people held out from the training; seed 0. "
        "Made by `measure.py`.",
        "",
        "| what looks | cut faces missed, % | places a photo that may be a face |",
        "|---|---|---|",
    ]
    for name, hit, place in zip(NAMES, hits, places, strict=True):
        missed = 100 * (1 - hit / faces)
        lines.append(f"| {name} | {missed:.1f} | {(place - places[0]) / num:.2f} |")
    lines += [
        "",
        f"Of what is to be seen of the {len(held)} faces that the second detector "
        f"finds at its own threshold, its places hold {100 * np.mean(held):.1f} % on "
        "average.",
        *more,
    ]
    text = "\n".join(lines) + "\n"
    (OUT / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
