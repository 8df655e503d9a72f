"""Which EXIF of a source stays with its anonymized picture.

Owns the three policies: "strip" keeps none; "safe" keeps when and with which camera
and settings; "all" adds names, texts and place. No policy keeps what can hold a
picture of the original face: thumbnails, maker notes, XMP and Photoshop resources. The
orientation is gone too, since it has been applied. Lists name what stays, so a tag that
nobody thought of does not. The color profile is gone under each: the pixels are sRGB.
"""

import PIL.Image
from PIL.ExifTags import IFD, Base

POLICIES = ("strip", "safe", "all")
_SAFE_MAIN = (Base.Make, Base.Model, Base.DateTime)
_SAFE_EXIF = (
    *(Base.ExposureTime, Base.FNumber, Base.ExposureProgram, Base.ISOSpeedRatings),
    *(Base.DateTimeOriginal, Base.DateTimeDigitized),
    *(Base.OffsetTime, Base.OffsetTimeOriginal, Base.OffsetTimeDigitized),
    *(Base.SubsecTimeOriginal, Base.SubsecTimeDigitized),
    *(Base.ShutterSpeedValue, Base.ApertureValue, Base.BrightnessValue),
    *(Base.ExposureBiasValue, Base.MaxApertureValue, Base.MeteringMode),
    *(Base.LightSource, Base.Flash, Base.FocalLength, Base.ColorSpace),
    *(Base.CustomRendered, Base.ExposureMode, Base.WhiteBalance),
    *(Base.DigitalZoomRatio, Base.FocalLengthIn35mmFilm, Base.SceneCaptureType),
    *(Base.GainControl, Base.Contrast, Base.Saturation, Base.Sharpness),
    *(Base.LensSpecification, Base.LensMake),
    Base.LensModel,
)
_ALL_MAIN = (
    *_SAFE_MAIN,
    *(Base.ImageDescription, Base.Software, Base.Artist, Base.HostComputer),
    Base.Copyright,
)
_ALL_EXIF = (
    *_SAFE_EXIF,
    *(Base.UserComment, Base.ImageUniqueID, Base.CameraOwnerName),
    *(Base.BodySerialNumber, Base.LensSerialNumber),
)


def check_policy(policy: str) -> None:
    """Raises ValueError unless `policy` is one of POLICIES."""
    if policy not in POLICIES:
        raise ValueError(f"metadata is {policy!r}; use one of {', '.join(POLICIES)}")


def kept(source: PIL.Image.Exif, policy: str) -> PIL.Image.Exif | None:
    """The EXIF that `policy` lets through; None for none."""
    check_policy(policy)
    if policy == "strip":
        return None
    everything = policy == "all"
    result = PIL.Image.Exif()
    for tag in _ALL_MAIN if everything else _SAFE_MAIN:
        if tag in source:
            result[tag] = source[tag]
    directories = {IFD.Exif: _ALL_EXIF if everything else _SAFE_EXIF}
    if everything:
        directories[IFD.GPSInfo] = range(32)  # all tags of the GPS directory
    for directory, tags in directories.items():
        entries = source.get_ifd(directory)
        new = {tag: entries[tag] for tag in tags if tag in entries}
        if new:
            result.get_ifd(directory).update(new)
    return result if result or result.get_ifd(IFD.Exif) else None
