"""Which EXIF of a source stays with its anonymized picture.

Owns the three policies: "strip" keeps none; "safe" keeps when and with which camera
and settings; "all" adds names, texts and place. No policy keeps what can hold a
picture of the original face: thumbnails, maker notes, XMP and Photoshop resources. The
orientation is gone too, since it has been applied. Lists name what stays, so a tag that
nobody thought of does not. The colour profile is part of the pixels' meaning and is no
matter of policy.
"""

import PIL.Image

POLICIES = ("strip", "safe", "all")
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825

# Tag numbers of EXIF 2.32. Main directory: maker, model, date.
_SAFE_MAIN = (271, 272, 306)
# Exposure, aperture, program, ISO, dates and their offsets, exposure values, metering,
# light, flash, focal length, colour space, modes, contrast and such, lens.
_SAFE_EXIF = (
    *(33434, 33437, 34850, 34855, 36867, 36868, 36880, 36881, 36882, 37377, 37378),
    *(37379, 37380, 37381, 37383, 37384, 37385, 37386, 37521, 37522, 40961, 41985),
    *(41986, 41987, 41988, 41989, 41990, 41991, 41992, 41993, 41994, 42034, 42035),
    42036,
)
# Description, software, artist, host, copyright.
_ALL_MAIN = (*_SAFE_MAIN, 270, 305, 315, 316, 33432)
# User comment, unique id, camera's owner, serial numbers of body and lens.
_ALL_EXIF = (*_SAFE_EXIF, 37510, 42016, 42032, 42033, 42037)


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
    directories = {_EXIF_IFD: _ALL_EXIF if everything else _SAFE_EXIF}
    if everything:
        directories[_GPS_IFD] = range(32)  # all tags of the GPS directory
    for directory, tags in directories.items():
        entries = source.get_ifd(directory)
        new = {tag: entries[tag] for tag in tags if tag in entries}
        if new:
            result.get_ifd(directory).update(new)
    return result if result or result.get_ifd(_EXIF_IFD) else None
