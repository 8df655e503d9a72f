"""Who stays, who changes, and whose pseudonym a face gets."""

import hmac

import numpy as np
import PIL.Image
import pytest

from id2face_jax.anonymize.batch import discovery, people, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.identity import gallery, keys, references
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.face import Face
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.faces.detect import Detection
from tests.anonymize import planted

KEY = bytes(range(32))


def make(**settings):
    return Anonymizer(
        planted.PlantedGenerator(planted.other_face),
        [planted.PlantedRecognizer()],
        planted.PlantedDetector(),
        FaceOptions(**settings),
    )


def face(embedding):
    nowhere = Detection(np.zeros(4, np.float32), 0.9, np.zeros((5, 2), np.float32))
    if embedding is None:
        return Face(nowhere)
    vector = np.zeros(planted.EMBEDDING_DIM, np.float32)
    vector[: len(embedding)] = embedding
    return Face(nowhere, embeddings=(vector / np.linalg.norm(vector),))


REFERENCE = np.eye(1, planted.EMBEDDING_DIM, dtype=np.float32)
# Cosines to the reference: 1, 0.9, 0.7, 0.4, 0 and unknown. PlantedRecognizer's
# threshold is 0.6, so "surely" begins at 0.75 and "perhaps" at 0.3.
FACES = [face([c, np.sqrt(1 - c * c)]) for c in (1.0, 0.9, 0.7, 0.4, 0.0)] + [
    face(None)
]


def test_only_the_surely_nearest_face_is_kept():
    choose = references.keep(make().tools, REFERENCE)
    assert choose(FACES) == [False, True, True, True, True, True]
    assert choose(FACES[2:]) == [True] * 4
    assert choose([]) == []


def test_only_changes_all_that_may_be_it():
    choose = references.only(make().tools, REFERENCE)
    assert choose(FACES) == [True, True, True, True, False, True]
    assert choose([]) == []


def test_reference_must_show_one_face(tmp_path):
    path = tmp_path / "wall.png"
    PIL.Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match="shows 0 faces"):
        references.reference(make().tools, [path])
    PIL.Image.fromarray(planted.picture(1)).save(path)
    assert references.reference(make().tools, [path, path]).shape == (2, 16)


@pytest.mark.parametrize(
    ("source", "name", "person"),
    [
        ("parent", "x/ann/1.jpg", "ann"),
        ("filename", "x/ann_01.jpg", "ann"),
        ("filename", "x/ann-2.jpg", "ann"),
        ("filename", "x/Ann Lee.jpg", "Ann Lee"),
        ("filename", "x/0001.jpg", "0001"),
        ("table.csv", "x/y/1.jpg", "bob"),
        ("table.csv", "z/y/1.jpg", "cid"),
    ],
)
def test_names(tmp_path, monkeypatch, source, name, person):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("file,person\ny/1.jpg,cid\nx/y/1.jpg,bob\n")
    namer = references.namer_by_name(source)(discovery.pathlib.Path(name))
    assert namer(FACES[:3]) == [person, None, None]


def test_names_that_are_not_there_are_errors(tmp_path):
    with pytest.raises(ValueError, match="parent, filename"):
        references.namer_by_name("folder")
    table = tmp_path / "t.csv"
    table.write_text("file,name\na,b\n")
    with pytest.raises(ValueError, match="columns file and person"):
        references.namer_by_name(str(table))
    table.write_text("file,person\na.jpg,b\n")
    with pytest.raises(ValueError, match="no row for c.jpg"):
        references.namer_by_name(str(table))(discovery.pathlib.Path("c.jpg"))


# By similarity


def crowd(num_people=6, photos=5, seed=0, spread=0.35):
    """Faces digest -> embedding, and digest -> person."""
    rng = np.random.default_rng(seed)
    faces, truth = {}, {}
    for person in range(num_people):
        center = rng.normal(size=64)
        center /= np.linalg.norm(center)
        for _ in range(photos):
            vector = center + spread * rng.normal(size=64) / 8
            digest = f"{rng.integers(2**32):08x}"
            faces[digest] = np.float32(vector / np.linalg.norm(vector))
            truth[digest] = person
    return faces, truth


def grouping(owners, digests):
    """The partition of the digests, whatever the people are called."""
    groups = {}
    for digest in digests:
        groups.setdefault(owners[digest], set()).add(digest)
    return {frozenset(group) for group in groups.values()}


def test_faces_are_grouped_by_person():
    faces, truth = crowd()
    book = gallery.Gallery("r")
    book.add(faces, 0.6)
    assert grouping(book.owners, faces) == grouping(truth, faces)


def test_order_does_not_matter_and_a_repeat_changes_nothing():
    faces, _ = crowd()
    owners = []
    for order in (sorted(faces), sorted(faces, reverse=True)):
        book = gallery.Gallery("r")
        book.add({digest: faces[digest] for digest in order}, 0.6)
        owners.append(dict(book.owners))
        book.add(faces, 0.6)
        assert book.owners == owners[-1]
    assert owners[0] == owners[1]


def test_later_faces_join_the_people_that_are_known():
    faces, truth = crowd(photos=8)
    digests = sorted(faces)
    early, late = digests[::2], digests[1::2]
    book = gallery.Gallery("r")
    book.add({d: faces[d] for d in early}, 0.6)
    before = dict(book.owners)
    book.add({d: faces[d] for d in late}, 0.6)
    assert all(book.owners[d] == before[d] for d in early)
    assert grouping(book.owners, faces) == grouping(truth, faces)


def test_gallery_is_encrypted_and_bound_to_its_key(tmp_path):
    faces, _ = crowd()
    book = gallery.Gallery("planted")
    book.add(faces, 0.6)
    path = tmp_path / "g"
    gallery.write(path, KEY, book)
    content = path.read_bytes()
    assert not any(digest.encode() in content for digest in faces)
    assert not any(vector.tobytes() in content for vector in faces.values())
    again = gallery.read(path, KEY, "planted")
    assert again.owners == book.owners and again.people.keys() == book.people.keys()
    for wrong in (content[:-1], content[:60] + b"x" + content[61:], b""):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="damaged or belongs to another key"):
            gallery.read(path, KEY, "planted")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="another key"):
        gallery.read(path, bytes(32), "planted")
    with pytest.raises(ValueError, match="embeddings of planted"):
        gallery.read(path, KEY, "other")


def first_format(content):
    """As 0.1.0 sealed under KEY: a nonce, content xor HMAC in counter mode, a tag."""

    def stream(secret, message, size):
        blocks = (
            hmac.digest(secret, message + number.to_bytes(8, "big"), "sha256")
            for number in range(size // 32 + 1)
        )
        return b"".join(blocks)[:size]

    nonce = bytes(range(16))
    mask = stream(stream(KEY, b"seal: encryption", 32), nonce, len(content))
    hidden = nonce + bytes(a ^ b for a, b in zip(content, mask, strict=True))
    return hidden + hmac.digest(stream(KEY, b"seal: tag", 32), hidden, "sha256")


def test_gallery_of_the_first_format_is_read_and_written_anew(tmp_path):
    book, path = gallery.Gallery("planted"), tmp_path / "g"
    book.add(crowd()[0], 0.6)
    gallery.write(path, KEY, book)
    old = first_format(keys.unseal(KEY, path.read_bytes()))
    path.write_bytes(old)
    found = gallery.read(path, KEY, "planted")
    assert found.owners == book.owners
    gallery.write(path, KEY, found)
    assert path.read_bytes().startswith(b"id2face sealed 2")
    assert gallery.read(path, KEY, "planted").owners == book.owners
    for wrong in (old[:-1], old[:60] + b"x" + old[61:]):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="damaged or belongs to another key"):
            gallery.read(path, KEY, "planted")


@pytest.mark.parametrize("content", [b"", b"x", bytes(1000)])
def test_seal_gives_back_what_it_got(content):
    sealed = keys.seal(KEY, content)
    assert keys.unseal(KEY, sealed) == content
    assert keys.seal(KEY, content) != sealed  # another nonce
    assert keys.unseal(bytes(32), sealed) is None


def test_same_face_in_two_files_and_two_runs_gets_one_identity(tmp_path):
    """One person in two photos with other surroundings, another in a third."""

    def latents(names):
        anonymizer = make(key=KEY)
        jobs = [
            j for n in names for j in discovery.plan([tmp_path / n], tmp_path / "out")
        ]
        namer = people.namer_by_similarity(
            anonymizer.tools, jobs, tmp_path / "g", quiet=True
        )
        ledger = state.Ledger(tmp_path / f"{len(names)}.json")
        options = FileOptions(overwrite=True, batch_size=1)
        runner.run(anonymizer, jobs, ledger, options, People(namer), quiet=True)
        requests = anonymizer.tools.generator.requests
        first = [r for r in requests if r.angles[0] == 100][: len(names)]
        return {n: r.latents.tobytes() for n, r in zip(names, first, strict=True)}

    first = planted.picture(0)
    other = first.copy()
    other[:20] = 0  # above the face
    other[100, 100] ^= 1  # another crop, almost the same face
    for name, pixels in {"1": first, "2": other, "3": planted.picture(5)}.items():
        PIL.Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    together = latents(["1.png", "2.png", "3.png"])
    assert together["1.png"] == together["2.png"] != together["3.png"]
    assert latents(["2.png"])["2.png"] == together["2.png"]
