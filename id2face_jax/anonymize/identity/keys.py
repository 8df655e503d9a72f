"""Secrets, and the numbers that follow from them.

Owns what an identity latent is drawn from. Everything is HMAC-SHA256, in counter mode
where more than 32 bytes are needed:

    (1)  stream(secret, m) = HMAC(secret, m | 0) | HMAC(secret, m | 1) | ...
    (2)  normals: pairs of 64-bit words of (1) through Box and Muller

numpy does not promise that its generators give the same numbers in later versions, and
a pseudonym must outlive them; (1) and (2) are fixed for ever. A person's face under a
key (`keyed_latent`) cannot be told from a random one without the key. Leaves who a
face belongs to, to `gallery` and `references`.
"""

import hashlib
import hmac
import os
import pathlib
import stat

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jaxtyping import Float

KEY_BYTES = 32
_HEADER = "id2face key 1 "
# What a sealed file begins with, and the nonce after it.
_SEALED, _NONCE_BYTES = b"id2face sealed 2\n", 12


def create_key(path: str | os.PathLike) -> None:
    """Writes a new random key of 256 bits to `path`, readable by its owner alone.

    Raises ValueError if the file exists: a lost key cannot be made again.
    """
    path = pathlib.Path(path)
    try:
        # O_EXCL and the mode at creation: never a moment in which others could read.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ValueError(
            f"{path} exists; keys are never overwritten, choose another name"
        ) from None
    with os.fdopen(handle, "w") as file:
        os.fchmod(file.fileno(), 0o600)  # whatever the umask took away or left
        file.write(_HEADER + os.urandom(KEY_BYTES).hex() + "\n")


def read_key(path: str | os.PathLike) -> bytes:
    """The key that `create_key` wrote.

    Raises ValueError if the file is no such key, or if others may read it.
    """
    path = pathlib.Path(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ValueError(
            f"{path} has mode {mode:o}, so others may read the key; run "
            f"`chmod 600 {path}`, and make a new key if they did"
        )
    text = path.read_bytes()[:200].decode("ascii", "replace").strip()
    digits = text.removeprefix(_HEADER)
    if text == digits or len(digits) != 2 * KEY_BYTES:
        raise ValueError(f"{path} is not a key; `id2face key {path}` would make one")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError(f"{path} is a damaged key: not hexadecimal") from None


def stream(secret: bytes, message: bytes, num_bytes: int) -> bytes:
    """Bytes that look random to all who lack `secret` (eq. 1)."""
    blocks = [
        hmac.digest(secret, message + counter.to_bytes(8, "big"), "sha256")
        for counter in range(-(-num_bytes // 32))
    ]
    return b"".join(blocks)[:num_bytes]


def normals(secret: bytes, message: bytes, num: int) -> Float[np.ndarray, " num"]:
    """`num` standard normal float32 numbers (eq. 2)."""
    words = np.frombuffer(stream(secret, message, 16 * -(-num // 2)), ">u8")
    # 53 bits each, shifted by half a step: never 0, whose logarithm is infinite.
    u, v = ((words >> np.uint64(11)) + 0.5).reshape(-1, 2).T / 2.0**53
    radius = np.sqrt(-2.0 * np.log(u))
    pairs = np.stack([radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)])
    return pairs.T.reshape(-1)[:num].astype(np.float32)


def _message(*parts: bytes | str | int) -> bytes:
    """The parts as one byte string that no other parts give."""
    encoded = [
        part
        if isinstance(part, bytes)
        else str(part).encode("utf-8", "surrogateescape")
        for part in parts
    ]
    return b"".join(len(part).to_bytes(8, "big") + part for part in encoded)


def face_digest(crop: np.ndarray) -> bytes:
    """What stands for a face's content: SHA-256 of its aligned crop's pixels."""
    return hashlib.sha256(crop.tobytes()).digest()


def noise_seed(seed: int, digest: bytes, attempt: int) -> int:
    """The seed of a face's start noise: 32 bits from (seed, content, attempt)."""
    message = _message("noise", seed, attempt)
    return int.from_bytes(stream(digest, message, 4), "big")


def random_latent(
    seed: int, digest: bytes, attempt: int, dim: int
) -> Float[np.ndarray, " dim"]:
    """An identity latent for a face without a key: from (seed, content, attempt)."""
    return normals(digest, _message("identity", seed, attempt), dim)


def keyed_latent(
    key: bytes, person: str, choice: int, dim: int
) -> Float[np.ndarray, " dim"]:
    """A person's identity latent under a key.

    choice: 0 is the person's pseudonym; others are for pictures in which it failed.
    """
    return normals(key, _message("person", person, choice), dim)


def seal(key: bytes, content: bytes) -> bytes:
    """The content encrypted under the key (AES-256-GCM), so that any change is noticed.

    A key of its own, from (1): what is drawn under the same secret says nothing of it.
    """
    nonce = os.urandom(_NONCE_BYTES)
    hidden = AESGCM(stream(key, b"seal: AES-GCM", 32)).encrypt(nonce, content, _SEALED)
    return _SEALED + nonce + hidden


def unseal(key: bytes, sealed: bytes) -> bytes | None:
    """What `seal` was given; None if the key is another or a byte has changed."""
    if not sealed.startswith(_SEALED):
        return _unseal_first(key, sealed)
    sealed = sealed.removeprefix(_SEALED)
    nonce, hidden = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    cipher = AESGCM(stream(key, b"seal: AES-GCM", 32))
    try:
        return cipher.decrypt(nonce, hidden, _SEALED)
    except (InvalidTag, ValueError):  # ValueError: too short for a nonce
        return None


def _unseal_first(key: bytes, sealed: bytes) -> bytes | None:
    """As `unseal`, of the first format, which is only read: content xor (1), HMAC."""
    hidden, found = sealed[:-32], sealed[-32:]
    expected = hmac.digest(stream(key, b"seal: tag", 32), hidden, "sha256")
    if len(sealed) < 48 or not hmac.compare_digest(found, expected):
        return None
    nonce, content = hidden[:16], np.frombuffer(hidden[16:], np.uint8)
    mask = stream(stream(key, b"seal: encryption", 32), nonce, len(content))
    return np.bitwise_xor(content, np.frombuffer(mask, np.uint8)).tobytes()
