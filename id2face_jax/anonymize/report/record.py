"""The record of one file: what the report says of it.

A worker makes it, the ledger keeps it, report.json lists it. It is never changed, only
replaced.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """What became of a file, or of a picture in an archive.

    Attributes:
      state: one of `face.STATES`.
      message: why, or what else there is to say of it.
      faces: see `schema.face_record`.
      covered: places that may show a face and are blurred.
      output_sha256: of the result; None if nothing was written.
      seconds: that it took.
      input: path of the source.
      output: path of the result from the report's folder; of a member, until the
        archive is committed, the member's name; None if it has no place.
      run: the name of what it was made with.
      frames: of a video; None for all else.
      flicker: of a video, see `video.report.Flicker`; None if there is none.
    """

    state: str = "refused"
    message: str = ""
    faces: tuple[dict, ...] = ()
    covered: tuple[dict, ...] = ()
    output_sha256: str | None = None
    seconds: float = 0.0
    input: str = ""
    output: str | None = None
    run: str = ""
    frames: int | None = None
    flicker: dict | None = None

    def refused(self, error: Exception) -> "FileRecord":
        """The record of the same file once an error has refused it."""
        message = " ".join(str(error).split()) or type(error).__name__
        return self.replace(state="refused", output_sha256=None, message=message)

    def replace(self, **changes) -> "FileRecord":
        """The record with other values in some fields."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict:
        """As report.json lists it: a photo has neither frames nor flicker."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields |= {"faces": list(self.faces), "covered": list(self.covered)}
        if self.frames is None:
            del fields["frames"], fields["flicker"]
        return fields

    @classmethod
    def from_json(cls, fields: dict) -> "FileRecord":
        """The record that `to_json` gave; what this version does not know is left."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {name: value for name, value in fields.items() if name in names}
        for name in ("faces", "covered"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)
