"""Laws of keys and of the numbers drawn from them."""

import hashlib
import stat

import numpy as np
import pytest
from scipy import stats

from id2face_jax.anonymize.identity import keys


def test_key_is_private_and_read_back(tmp_path):
    path = tmp_path / "key"
    keys.create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = keys.read_key(path)
    assert len(key) == 32
    keys.create_key(tmp_path / "other")
    assert keys.read_key(tmp_path / "other") != key


def test_key_is_never_overwritten(tmp_path):
    path = tmp_path / "key"
    keys.create_key(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="never overwritten"):
        keys.create_key(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a key"),
        ("id2face key 1 1234\n", "not a key"),
        ("ab" * 32, "not a key"),
        ("id2face key 1 " + "zz" * 32, "not hexadecimal"),
    ],
)
def test_what_is_no_key_is_an_error(tmp_path, content, message):
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match=message):
        keys.read_key(path)


def test_key_that_others_may_read_is_an_error(tmp_path):
    path = tmp_path / "key"
    keys.create_key(path)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        keys.read_key(path)


def test_stream_has_a_prefix_law():
    # A longer stream continues a shorter one.
    short, long = (keys.stream(b"secret", b"message", n) for n in (20, 100))
    assert long.startswith(short) and len(set(long)) > 60


def test_normals_are_normal_and_fixed_for_ever():
    drawn = keys.normals(b"key", b"message", 20_000)
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert abs(np.corrcoef(drawn[::2], drawn[1::2])[0, 1]) < 0.03
    # A pseudonym must outlive this version of the program: these numbers stay. They
    # were computed apart, with Python's hmac and math alone.
    fixed = [0.12047266, 2.08907274, 0.86746298, 1.47367723]
    drawn = keys.keyed_latent(bytes(32), "person", 0, 4)
    np.testing.assert_allclose(drawn, fixed, rtol=1e-6)


def test_latents_differ_by_key_person_choice_seed_and_attempt():
    digest = hashlib.sha256(b"crop").digest()
    latents = [
        keys.keyed_latent(b"a" * 32, "ann", 0, 8),
        keys.keyed_latent(b"b" * 32, "ann", 0, 8),
        keys.keyed_latent(b"a" * 32, "bob", 0, 8),
        keys.keyed_latent(b"a" * 32, "ann", 1, 8),
        keys.random_latent(0, digest, 0, 8),
        keys.random_latent(1, digest, 0, 8),
        keys.random_latent(0, digest, 1, 8),
        keys.random_latent(0, hashlib.sha256(b"other").digest(), 0, 8),
    ]
    assert len({latent.tobytes() for latent in latents}) == len(latents)
    again = keys.keyed_latent(b"a" * 32, "ann", 0, 8)
    np.testing.assert_array_equal(again, latents[0])


def test_person_with_a_name_that_is_no_utf8_has_a_face():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert np.isfinite(keys.keyed_latent(bytes(32), name, 0, 8)).all()
