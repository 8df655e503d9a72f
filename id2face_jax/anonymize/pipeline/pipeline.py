"""The steps that take pictures in work to their end, in the order they are called.

`open_picture` and `prepare` find and describe the faces; `change` generates, pastes
and verifies round after round, and hides what will not pass; `add_missed` searches the
result for faces that nobody has changed; `cover_doubtful` blurs what may be one. Owns
the decisions: who is generated again, with what, and when it is enough. Leaves pixels
to `canvas`, checks to `verify`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.anonymize.identity import keys
from id2face_jax.anonymize.pipeline import stages, verify
from id2face_jax.anonymize.pipeline.canvas import Canvas, crop_window, waves
from id2face_jax.anonymize.pipeline.face import Face, Picture
from id2face_jax.anonymize.pipeline.generator import Generator, Requests
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.anonymize.pipeline.parallel import over_cores
from id2face_jax.faces import align, finding
from id2face_jax.faces.detect import Detection
from id2face_jax.faces.embed import Recognizer
from id2face_jax.faces.mask import face_mask

# Score in an upright view at which a doubtful place is a face after all.
_CONFIRMED = 0.7
_SWEEPS = 2  # searches of the finished picture for faces that were missed


@dataclasses.dataclass(frozen=True)
class Tools:
    """The models and options that every step needs; see `anonymizer.Anonymizer`.

    second: finds places that may show a face; None is no such search.
    """

    generator: Generator
    recognizers: tuple[Recognizer, ...]
    detector: finding.Detector
    settings: FaceOptions
    second: finding.Detector | None = None


def open_picture(
    tools: Tools, image: UInt8[np.ndarray, "h w 3"], aligned: bool
) -> Picture:
    """The picture with its faces, which `prepare` has yet to describe."""
    detections = finding.find_faces(tools.detector, image, tools.settings.det_threshold)
    if aligned:
        known = _template_face(image)
        others = [d for d in detections if not finding.is_same_face(d.box, known.box)]
        sure, places = _split(tools, image, others)
        sure = [known, *sure]
    else:
        sure, places = _split(tools, image, detections)
    return Picture(Canvas(image), [Face(detection) for detection in sure], places)


def _split(
    tools: Tools, image: UInt8[np.ndarray, "h w 3"], found: Sequence[Detection]
) -> tuple[list[Detection], list[Detection]]:
    """The faces that are surely ones, largest first, and the places that may show one.

    A small or turned face scores low where it stands, and high once it is upright and
    large; hair and buttons do not.
    """
    sure, doubted = finding.split(found, tools.settings.det_threshold)
    places = []
    for place in doubted:
        points = place.landmarks
        again = []
        if finding.is_face_shaped(points):
            again = finding.seen_again(tools.detector, image, points, _CONFIRMED)
        is_face = any(face.score >= _CONFIRMED for face in again)
        (sure if is_face else places).append(place)
    return sorted(sure, key=lambda face: -face.area), places


def _template_face(image: UInt8[np.ndarray, "h w 3"]) -> Detection:
    height, width = image.shape[:2]
    if height != width:
        raise ValueError(
            f"an aligned crop is square and this picture is {width} x {height}; leave "
            "out --aligned, and the face will be found"
        )
    points = align.template(width)
    # The detector's box: brows to chin, and the cheeks.
    center, unit = points.mean(axis=0), points[3:, 1].mean() - points[:2, 1].mean()
    above, below = np.float32([1.2, 1.6]) * unit, np.float32([1.2, 1.4]) * unit
    box = np.concatenate([center - above, center + below])
    return Detection(box.astype(np.float32), 0.0, points)


def prepare(tools: Tools, work: Sequence[tuple[Picture, Sequence[Face]]]) -> None:
    """Gives the faces crop, mask, digest and embeddings, from the original picture."""
    described = [
        (picture.canvas.original, face)
        for picture, faces in work
        for face in faces
        if finding.is_face_shaped(face.detection.landmarks)
    ]
    if not described:
        return
    with stages.stage("align"):
        for image, face in described:
            _align(tools, image, face)
    with stages.stage("embed"):
        embeddings = verify.embed(
            tools.recognizers,
            [image for image, _ in described],
            np.stack([face.detection.landmarks for _, face in described]),
        )
    for row, (_, face) in enumerate(described):
        face.embeddings = tuple(vectors[row] for vectors in embeddings)
        face.avoids = face.embeddings[0]


def _align(tools: Tools, image: UInt8[np.ndarray, "h w 3"], face: Face) -> None:
    landmarks, size = face.detection.landmarks, tools.generator.size
    face.matrix = align.crop_matrix(landmarks, size, tools.generator.geometry)
    face.mask = scaled_mask(
        align.transform_points(face.matrix, landmarks), size, tools.settings.mask_scale
    )
    face.digest = keys.face_digest(align.crop(image, face.matrix, size))


def scaled_mask(
    landmarks: Float[np.ndarray, "5 2"], size: int, scale: float
) -> Float[np.ndarray, "size size"]:
    """The identity mask, `scale` times as large."""
    center = landmarks.mean(axis=0)
    return face_mask((center + scale * (landmarks - center)).astype(np.float32), size)


def finish(tools: Tools, pictures: Sequence[Picture]) -> None:
    """Takes described pictures to their end: change, search, change what was missed.

    What only the last search finds is blurred at once.
    """
    for _ in range(_SWEEPS):
        change(tools, pictures)
        if not add_missed(tools, pictures):
            break
    with stages.stage("verify"):
        over_cores(lambda picture: hide_rest(tools, picture), pictures)


def change(tools: Tools, pictures: Sequence[Picture]) -> None:
    """Generates and verifies faces in work; those that will not be hidden are blurred.

    Afterwards every face has a state.
    """
    for attempt in range(tools.settings.max_attempts):
        if not any(picture.to_generate() for picture in pictures):
            break
        _generate(tools, pictures, attempt)
        painted = [picture for picture in pictures if picture.to_generate()]
        with stages.stage("verify"):
            over_cores(lambda picture: _verify(tools, picture), painted)
    with stages.stage("verify"):
        over_cores(lambda picture: hide_rest(tools, picture), pictures)


def _generate(tools: Tools, pictures: Sequence[Picture], attempt: int) -> None:
    """One attempt at all faces in work, wave by wave; a wave is one batch."""
    batches: dict[int, list[tuple[Picture, int]]] = {}
    for picture in pictures:
        todo = picture.to_generate()
        shape, faces = picture.canvas.original.shape, picture.faces
        windows = [crop_window(shape, faces[i].matrix, faces[i].mask) for i in todo]
        for number, wave in enumerate(waves(windows)):
            batches.setdefault(number, []).extend((picture, todo[i]) for i in wave)
    for _, jobs in sorted(batches.items()):
        with stages.stage("align"):
            requests = _requests(tools, jobs, attempt)
        with stages.stage("sample"):
            crops = tools.generator(requests)
        with stages.stage("blend"):
            _paint(jobs, crops, tools.settings.angle(attempt))


def _paint(jobs: Sequence[tuple[Picture, int]], crops, angle: float) -> None:
    for (picture, index), crop in zip(jobs, crops, strict=True):
        face = picture.faces[index]
        picture.canvas.paint(index, crop, face.matrix, face.mask)
        face.attempts += 1
        face.angle = angle


def _requests(
    tools: Tools, jobs: Sequence[tuple[Picture, int]], attempt: int
) -> Requests:
    settings, faces = tools.settings, [picture.faces[i] for picture, i in jobs]
    dim = tools.generator.identity_dim
    crops = [
        picture.canvas.cut(index, face.matrix, face.mask)
        for (picture, index), face in zip(jobs, faces, strict=True)
    ]
    return Requests(
        np.stack(crops),
        np.stack([face.mask for face in faces]),
        np.stack([face.avoids for face in faces]),
        np.stack([_latent(settings, face, attempt, dim) for face in faces]),
        np.uint32([keys.noise_seed(settings.seed, f.digest, attempt) for f in faces]),
        np.full(len(faces), settings.angle(attempt), np.float32),
        "embedding" if settings.appearance == "keep" else "free",
    )


def _latent(
    settings: FaceOptions, face: Face, attempt: int, dim: int
) -> Float[np.ndarray, " dim"]:
    if settings.key is None:
        return keys.random_latent(settings.seed, face.digest, attempt, dim)
    # A pseudonym gets a second chance with other noise before it is given up.
    person = face.person or "face:" + face.digest.hex()
    return keys.keyed_latent(settings.key, person, max(0, attempt - 1), dim)


def _verify(tools: Tools, picture: Picture) -> None:
    """Checks every face that was painted; sets or takes back "anonymized".

    Faces that had passed are checked again: a neighbor may have painted over them.
    """
    painted = [
        face
        for face in picture.faces
        if face.attempts and face.state in (None, "anonymized")
    ]
    _check(tools, picture, painted)
    for face in painted:
        # Of an aligned crop the detector may have seen nothing to begin with.
        is_face = face.seen or face.detection.score == 0.0
        face.state = "anonymized" if face.hidden and is_face else None


def _check(tools: Tools, picture: Picture, faces: Sequence[Face]) -> None:
    image, views = picture.canvas.current, []
    for face in faces:
        landmarks = face.detection.landmarks
        again = finding.seen_again(
            tools.detector, image, landmarks, tools.settings.det_threshold
        )
        # One that the detector sees far less of is a smudge, no face.
        enough = face.detection.score / 2
        face.seen = any(found.score >= enough for found in again)
        views.append([landmarks, *(found.landmarks for found in again)])
    described = [face.embeddings for face in picture.faces if face.embeddings]
    sources = [np.stack(vectors) for vectors in zip(*described, strict=True)]
    for face, checks in zip(
        faces, verify.checks(tools.recognizers, image, views, sources), strict=True
    ):
        face.checks = checks


def hide_rest(tools: Tools, picture: Picture) -> None:
    """Hides the faces in work without a generator; afterwards each has a state.

    First blurred, then painted over, then refused. Neighbors are checked again, since
    a blur may have changed them too.
    """
    faces, scale = picture.faces, tools.settings.mask_scale
    times_hidden = dict.fromkeys(range(len(faces)), 0)
    while todo := picture.in_work():
        for index in todo:
            gives_up = tools.settings.on_failure == "refuse" or times_hidden[index] == 2
            faces[index].state = "refused" if gives_up else "fallback"
            if not gives_up:
                solid = times_hidden[index] == 1
                box = faces[index].detection.box
                picture.canvas.hide(index, box, scale=scale, solid=solid)
                times_hidden[index] += 1
        done = ("anonymized", "fallback")
        changed = [face for face in faces if face.state in done and face.embeddings]
        _check(tools, picture, changed)
        for face in changed:
            if not face.hidden:
                face.state = None


def add_missed(tools: Tools, pictures: Sequence[Picture]) -> bool:
    """Adds the faces of the changed pictures that nobody has changed; returns whether.

    And the places that may show one, which are covered in the end. Faces are described
    from the original picture, like all others.
    """
    changed = [p for p in pictures if p.state in ("anonymized", "fallback")]
    with stages.stage("verify"):
        found = over_cores(lambda picture: _missed(tools, picture), changed)
    work = []
    for picture, detections in zip(changed, found, strict=True):
        sure, places = _split(tools, picture.canvas.original, detections)
        missed = [Face(detection) for detection in sure]
        picture.faces += missed
        picture.places += places
        work.append((picture, missed))
    prepare(tools, work)
    return any(missed for _, missed in work)


def _missed(tools: Tools, picture: Picture) -> list[Detection]:
    threshold = tools.settings.det_threshold
    known = [*(face.detection for face in picture.faces), *picture.places]
    unknown = [
        detection
        for detection in finding.look(tools.detector, picture.canvas.current, threshold)
        if not picture.canvas.is_painted((detection.box[:2] + detection.box[2:]) / 2)
        and not _is_among(detection, known)
    ]
    if not unknown:
        return []
    # A blur and what is round it may look a little like a face. One that was missed is
    # in the original too.
    original = finding.look(tools.detector, picture.canvas.original, threshold / 2)
    return [d for d in unknown if d.score > 0.5 or _is_among(d, original)]


def _is_among(detection: Detection, others: Sequence[Detection]) -> bool:
    return any(finding.is_same_face(detection.box, other.box) for other in others)


def cover_doubtful(tools: Tools, pictures: Sequence[Picture]) -> None:
    """Blurs where a face may be that the detector is not sure of.

    No identity is painted there: most often it is a face cut by the border or far
    behind, and sometimes a hand. Faces that are changed stay as they are, and pictures
    of which all faces are kept.
    """

    def cover(picture: Picture) -> None:
        known = [face.detection for face in picture.faces]
        canvas, settings = picture.canvas, tools.settings
        picture.covered = finding.doubtful(
            tools.detector,
            canvas.original,
            settings.det_threshold,
            known,
            tools.second,
            picture.places,
        )
        for detection in picture.covered:
            canvas.cover(detection.box, settings.mask_scale)

    todo = [
        picture
        for picture in pictures
        if picture.state in ("anonymized", "fallback") or not picture.faces
    ]
    with stages.stage("detect"):
        over_cores(cover, todo)
