"""The generator's rows on a tiny random model and made-up people: laws, no quality."""

import dataclasses
import functools

import ml_collections
import numpy as np
import pytest

from configs import smoke
from id2face_jax.evaluation import people
from id2face_jax.evaluation.methods import catalog, controls
from id2face_jax.evaluation.methods import generator as generators
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics import attacks, diversity, gates, privacy
from id2face_jax.evaluation.models import detectors
from tests.evaluation.made_up import (
    SIZE,
    MadeUpPeople,
    find,
    make_generator,
    open_context,
)


@pytest.fixture(autouse=True)
def found_where_they_are_known_to_be(monkeypatch):
    monkeypatch.setattr(detectors, "find_faces", find)


@pytest.fixture(scope="module")
def generator() -> generators.Generator:
    return make_generator()


@pytest.fixture
def made_up(tmp_path):
    return open_context(tmp_path)


@pytest.fixture(scope="module")
def method_of(generator):
    """Methods by name, each compiled once."""
    return functools.cache(
        lambda name: generators.make_generator_method(name, generator)
    )


def crops_of(context, method, **options):
    return context.outputs(method, **options).crops.column("crops")


def test_pictures_do_not_depend_on_batches_or_file_order(
    tmp_path, generator, method_of
):
    shuffled = np.random.default_rng(0).permutation(40)
    first = open_context(tmp_path / "a")
    second = open_context(tmp_path / "b", shuffled)
    assert first.people.fingerprint == second.people.fingerprint
    other = dataclasses.replace(generator, batch_size=5)
    a = crops_of(first, method_of("id2face"))
    b = crops_of(second, generators.make_generator_method("id2face", other))
    # Other batch sizes sum in another order: a rounding of one gray level at most.
    assert np.abs(a.astype(int) - b).max() <= 1


def test_a_rerun_in_reverse_gives_the_same_pictures(made_up, method_of):
    outputs = made_up.outputs(method_of("id2face"))
    assert made_up.repeat_difference(outputs) <= 1


def test_a_method_whose_pictures_change_is_seen(made_up):
    rng = np.random.default_rng(0)
    restless = Method(
        "restless",
        "",
        lambda batch: rng.integers(0, 255, batch.images.shape).astype(np.uint8),
        "restless",
    )
    assert made_up.repeat_difference(made_up.outputs(restless)) > 1


def test_every_variant_keeps_what_is_outside_of_the_mask(made_up, method_of):
    rows = np.arange(6)
    batch = made_up.people.batch(rows)
    for name in generators.GENERATOR:
        crops = crops_of(made_up, method_of(name), rows=rows)
        outside = batch.masks == 0
        np.testing.assert_array_equal(crops[outside], batch.images[outside])


def test_what_is_asked_for_stands_at_right_angles_unless_it_is_told_not_to(
    made_up, method_of
):
    for name, right in (("id2face", True), ("no-oim", False)):
        outputs = made_up.outputs(method_of(name))
        asked = made_up.requested(outputs)
        cosine = privacy.own_cosine(asked, made_up.people.embeddings)
        assert (np.abs(cosine).max() < 1e-5) == right
        np.testing.assert_allclose(np.linalg.norm(asked, axis=1), 1, atol=1e-5)


def test_draws_change_the_identity_and_keys_make_it_the_persons(made_up):
    rows = np.arange(len(made_up.people))
    latents = {
        draw: made_up.people.batch(rows, draw).latents(8)
        for draw in (people.Draw(), people.Draw(1), people.Draw(key=b"k" * 32))
    }
    fresh, again, keyed = latents.values()
    assert not np.any(np.all(fresh == again, axis=1))
    assert len(np.unique(fresh, axis=0)) == len(rows)
    assert len(np.unique(keyed, axis=0)) == len(made_up.people.names)


def test_swap_takes_other_people_and_says_whom(made_up):
    swap = controls.make_control("swap", made_up.people)
    batch = made_up.people.batch(np.arange(40))
    asked = swap.requested(batch)
    own = made_up.people.embeddings @ asked.T
    donors = np.argmax(own, axis=0)
    assert np.all(made_up.people.persons[donors] != made_up.people.persons)


def test_keyed_attack_links_one_key_and_no_other(made_up):
    """A generator that paints the identity it is given is linkable by its key alone."""

    def paint(batch):
        colors = np.clip(127 + 60 * batch.latents(48), 0, 255).astype(np.uint8)
        tiles = colors.reshape(-1, 4, 4, 3)
        return np.kron(tiles, np.ones((1, 8, 8, 1), np.uint8))

    painter = Method("painter", "", paint, "painter", draws_identity=True)
    fields = attacks.keyed(made_up, painter, "dlib")
    assert fields["same_key_rank1"] == 1 and fields["same_key_cosine"] > 0.99
    assert fields["other_key_rank1"] < 0.4 and fields["other_key_cosine"] < 0.2
    assert fields["rank1_chance"] == pytest.approx(1 / 12)


def test_diversity_is_small_for_new_people_and_large_for_one_face(made_up):
    def paint(batch):
        colors = np.clip(127 + 60 * batch.latents(48), 0, 255).astype(np.uint8)
        return np.kron(colors.reshape(-1, 4, 4, 3), np.ones((1, 8, 8, 1), np.uint8))

    def one_face(batch):
        return np.repeat(made_up.people.images(np.array([0])), len(batch.rows), axis=0)

    cosines = [
        diversity.of_one_face(
            made_up,
            made_up.outputs(Method(name, "", run, name, draws_identity=True)),
            "dlib",
        )
        for name, run in (("painter", paint), ("one face", one_face))
    ]
    rng = np.random.default_rng(0)
    impostors = privacy.histogram(rng.normal(0, 1 / np.sqrt(48), 5000))
    apart, same = (diversity.distance(c, impostors) for c in cosines)
    assert cosines[0].shape == (12, 45)
    # 120 clipped draws are not quite ideally different people: a fifth, not nothing.
    assert apart < same / 5 and same == pytest.approx(1, abs=0.05)


def test_attribute_leak_and_gates_run_on_the_model(made_up, generator):
    image, attributes = attacks.photo_latents(made_up, generator)
    assert image.shape == (40, 4 * 4 * 4) and attributes.shape[0] == 40
    assert np.all(np.isfinite(image)) and np.all(np.isfinite(attributes))
    around = attacks.surroundings(made_up)
    assert around.shape == (40, 12 * 12 * 3)
    batch = made_up.people.batch(np.arange(3))
    maps = gates.gate_maps(generator, batch)
    assert maps.shape == (len(gates.TIMES), 3, SIZE, SIZE)
    assert maps.min() > 0 and maps.max() < 1 and np.ptp(maps) > 0.01
    blocks = gates.block_gates(generator, batch)
    assert set(blocks) == {"down_0_0", "middle_1_0", "up_0_0"}
    np.testing.assert_allclose(np.mean(list(blocks.values()), axis=0), maps)


def test_a_model_that_does_not_fit_the_records_is_told_before_it_runs(
    made_up, generator
):
    config = smoke.get_config()
    config.data.image_size = 64
    larger = dataclasses.replace(
        generator, config=ml_collections.FrozenConfigDict(config)
    )
    with pytest.raises(ValueError, match="32 px crops .* takes 64 px"):
        catalog.make_methods(("id2face",), made_up.people, larger)


def test_a_limit_takes_whole_people_and_nests():
    source = MadeUpPeople()
    small, large = (people.select(source, limit, 0) for limit in (10, 25))
    assert len(small) <= 10 and len(large) <= 25
    assert set(small.names) <= set(large.names)
    counts = np.bincount(large.persons)
    assert all(count in (3, 4) for count in counts)  # 40 photos of 12 people


def test_unknown_methods_are_told():
    with pytest.raises(ValueError, match="expected some of anonymize"):
        catalog.check_names(("id2face", "mosaic"))
    with pytest.raises(ValueError, match="each once"):
        catalog.check_names(("blur", "blur"))
