"""Pictures in, anonymized pictures out: the Python API (docs/python.md shows it).

For each picture: find the faces; up to `max_attempts` times generate those that are
not hidden yet (of a batch of pictures at once), paste, and verify every face after the
paste; blur what will not be hidden; search the whole picture again, and treat a face
that was missed like any other; blur what may be one. Doubt falls on the side of hiding:
a picture in which a face could not be hidden is refused, not returned. The steps are in
`pipeline`.

>>> import skimage.data
>>> anonymizer = Anonymizer.from_pretrained()
>>> result = anonymizer(skimage.data.astronaut())
>>> result.image.shape, len(result.faces), result.state in ("anonymized", "fallback")
((512, 512, 3), 1, True)
>>> result.faces[0].cosine < result.faces[0].threshold
True
"""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline import pipeline, stages
from id2face_jax.anonymize.pipeline.face import Face, Picture
from id2face_jax.anonymize.pipeline.generator import DiffusionGenerator, Generator
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.anonymize.pipeline.parallel import over_cores
from id2face_jax.anonymize.report import schema
from id2face_jax.faces import appearance, finding
from id2face_jax.faces.detect import CenterFaceDetector, Detection
from id2face_jax.faces.embed import Recognizer, make_recognizer
from id2face_jax.faces.truncated import TruncatedFaceDetector

# A picture: RGB pixels (h, w, 3) uint8, a PIL image, or a file.
Image = np.ndarray | PIL.Image.Image | str | os.PathLike
# Both get the faces of one picture, largest first.
Namer = Callable[[Sequence[Face]], Sequence[str | None]]  # whose faces they are
Chooser = Callable[[Sequence[Face]], Sequence[bool]]  # which ones to change


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a picture.

    Attributes:
      image: anonymized; None if the picture was refused, and where state is "no_face"
        unless it was asked for: then it is the picture as it came, but for `covered`.
      state: "anonymized", "no_face", "fallback" (a face is blurred) or "refused".
      faces: largest first.
      covered: what may be a face and is blurred, whatever the state says.
    """

    image: UInt8[np.ndarray, "h w 3"] | None
    state: str
    faces: tuple[Face, ...]
    covered: tuple[Detection, ...] = ()

    @property
    def report(self) -> dict:
        """State and faces as in report.json."""
        return schema.picture_record(self.state, self.faces, self.covered)


class Anonymizer:
    """Callable: `anonymizer(image)` gives a `Result`. Models are loaded once.

    Not for several threads at a time: the networks below it are not.
    """

    def __init__(
        self,
        generator: Generator,
        recognizers: Sequence[Recognizer],
        detector: finding.Detector,
        settings: FaceOptions | None = None,
        second: finding.Detector | None = None,
    ):
        """Args:

        generator: makes the new faces.
        recognizers: the first one's embeddings condition the generator; all verify.
        detector: finds faces, `detector(image, threshold)`.
        settings: None is the default.
        second: finds places that may show a face, to be blurred; as `detector`.
        """
        if recognizers[0].dim != generator.embedding_dim:
            raise ValueError(
                f"recognizer {recognizers[0].name} gives {recognizers[0].dim} numbers "
                f"and the model was trained on {generator.embedding_dim}; use the "
                "recognizer that made the model's records"
            )
        self.tools = pipeline.Tools(
            generator, tuple(recognizers), detector, settings or FaceOptions(), second
        )

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike | None = None,
        *,
        recognizer: str = "dlib",
        verifier: str | os.PathLike | None = None,
        num_steps: int | None = None,
        max_batch: int | None = None,
        settings: FaceOptions | None = None,
    ) -> "Anonymizer":
        """The anonymizer of an export.

        Args:
          path: an export or a training run; None is the embedded default.
          recognizer: "dlib" or an ONNX file: the one that the model was trained on.
          verifier: ONNX file of a further recognizer that must not know a face again.
          num_steps: DDIM steps; None is the model's own number.
          max_batch: most faces generated at once; None is what suits the device.
          settings: None is the default.
        """
        names = [recognizer] if verifier is None else [recognizer, str(verifier)]
        recognizers = [make_recognizer(name) for name in names]
        generator = DiffusionGenerator.from_export(
            path,
            num_steps=num_steps,
            max_batch=max_batch,
            directions=appearance.load(recognizers[0].name),
        )
        detectors = CenterFaceDetector(), TruncatedFaceDetector()
        return cls(generator, recognizers, detectors[0], settings, detectors[1])

    def with_settings(self, **changes) -> "Anonymizer":
        """The same loaded models under other settings: `with_settings(seed=1)`.

        changes: fields of `FaceOptions`; all others stay as they are.
        """
        tools = self.tools
        settings = dataclasses.replace(tools.settings, **changes)
        models = tools.generator, tools.recognizers, tools.detector
        return Anonymizer(*models, settings, tools.second)

    def __call__(
        self,
        image: Image,
        *,
        aligned: bool = False,
        namer: Namer | None = None,
        chooser: Chooser | None = None,
        on_no_face: str = "refuse",
    ) -> Result:
        """Anonymizes one picture.

        Args:
          image: RGB pixels (h, w, 3) uint8, a PIL image or a file; the orientation of
            the latter two is applied. Transparency is not part of the result.
          aligned: the picture is an aligned crop (see `faces.align`): there is a face
            at the template's points, whatever the detector says.
          namer: whose faces they are, for keyed identities.
          chooser: which faces to change; None is all.
          on_no_face: "refuse" gives no image where no face is changed, since one may
            have been missed; "copy" gives the picture as it came.

        Raises ValueError, naming what is wrong, for what is no such picture.
        """
        return self.anonymize_all(
            [image],
            aligned=aligned,
            namers=[namer],
            choosers=[chooser],
            on_no_face=on_no_face,
        )[0]

    def anonymize_all(
        self,
        pictures: Sequence[Image],
        *,
        aligned: bool = False,
        namers: Sequence[Namer | None] | None = None,
        choosers: Sequence[Chooser | None] | None = None,
        on_no_face: str = "refuse",
    ) -> list[Result]:
        """One result a picture; a result does not depend on the other pictures.

        The faces of all of them share the generator's batches, and all stay in memory:
        give a large folder in parts. Args as in `__call__`, with a namer and a chooser
        for each picture.
        """
        if on_no_face not in ("refuse", "copy"):
            raise ValueError(f"on_no_face is {on_no_face!r}; use refuse or copy")
        with stages.stage("detect"):
            work = over_cores(
                lambda image: pipeline.open_picture(
                    self.tools, _pixels(image), aligned
                ),
                pictures,
            )
        pipeline.prepare(self.tools, [(picture, picture.faces) for picture in work])
        nobody = [None] * len(work)
        for picture, namer, chooser in zip(
            work, namers or nobody, choosers or nobody, strict=True
        ):
            _choose(picture, namer, chooser)
        pipeline.finish(self.tools, work)
        pipeline.cover_doubtful(self.tools, work)
        return [_result(picture, on_no_face == "copy") for picture in work]


def _pixels(image: Image) -> UInt8[np.ndarray, "h w 3"]:
    if not isinstance(image, np.ndarray):
        return images.to_pixels(image)
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not good or not image.size:
        raise ValueError(
            f"the picture is an array of {image.dtype} and shape {image.shape}; use "
            "RGB pixels, uint8 and (height, width, 3), or a PIL image or a file"
        )
    # Views such as `bgr[..., ::-1]`: OpenCV takes no negative strides.
    return np.ascontiguousarray(image)


def _choose(picture: Picture, namer: Namer | None, chooser: Chooser | None) -> None:
    faces = picture.faces
    if namer is not None:
        for face, person in zip(faces, namer(faces), strict=True):
            face.person = person
    if chooser is not None:
        for face, changes in zip(faces, chooser(faces), strict=True):
            face.state = None if changes else "kept"


def _result(picture: Picture, copies: bool) -> Result:
    state = picture.state
    is_given = state in ("anonymized", "fallback") or (state == "no_face" and copies)
    image = picture.canvas.current if is_given else None
    return Result(image, state, tuple(picture.faces), tuple(picture.covered))
