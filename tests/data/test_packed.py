"""Laws of packed records: the same faces, drawn on the device by the same rules."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from id2face_jax.data import batches, packed, pairs, pipeline, transforms
from id2face_jax.faces import align, mask, whitening

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two splits of made-up people, packed."""
    out = tmp_path_factory.mktemp("packed") / "faces"
    splits = {
        "train": pipeline.SyntheticSource(SIZE, dim=16),
        "validation": pipeline.SyntheticSource(SIZE, first_person=1000, dim=16),
    }
    packed.pack(splits, align.WIDE, out)
    return out


def _config(folder):
    config = smoke.get_config()
    config.data.records = str(folder)
    config.data.crop_units, config.data.crop_center = 160.0, (56.0, 64.0)
    return config


def test_what_is_packed_comes_back(folder):
    for split, first in (("train", 0), ("validation", 1000)):
        source = pipeline.SyntheticSource(SIZE, first_person=first, dim=16)
        found = packed.open_packed(folder, split)
        assert len(found) == len(source) and found.people == source.people
        np.testing.assert_array_equal(found.person_ids, source.person_ids)
        for row in (0, len(source) - 1):
            wanted = source[row]
            np.testing.assert_allclose(found.landmarks[row], wanted["landmarks"])
            np.testing.assert_allclose(found.embeddings[row], wanted["embedding"])
            gap = found.images[row].astype(int) - wanted["image"]
            assert np.abs(gap).mean() < 6  # a JPEG of a small, busy picture


def test_the_recognizer_comes_back_whole(folder):
    wanted, found = whitening.frozen_recognizer(), packed.load_recognizer(folder)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_a_cut_off_copy_and_an_absent_split_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="no split 'test'"):
        packed.open_packed(folder, "test")
    for name in (packed.MANIFEST, packed.ARRAYS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    data = (folder / packed.CROPS).read_bytes()
    (tmp_path / packed.CROPS).write_bytes(data[:-1])
    with pytest.raises(ValueError, match=f"{len(data) - 1} bytes of {len(data)}"):
        packed.open_packed(tmp_path, "train")


def test_records_of_another_size_are_refused(folder):
    config = _config(folder)
    config.data.image_size = 64
    with pytest.raises(ValueError, match="the config asks for"):
        batches.open_train(config)


def test_a_batch_has_the_form_of_the_pipeline_and_is_a_function_of_its_number(folder):
    config = _config(folder)
    source = batches.open_train(config)
    iterator = batches.make_iterator(config, source)
    drawn = [jax.device_get(next(iterator)) for _ in range(3)]
    wanted = pipeline.first_batch(smoke.get_config(), config.data.batch_size)
    assert {k: (v.shape, v.dtype) for k, v in drawn[0].items()} == {
        k: (v.shape, v.dtype) for k, v in wanted.items()
    }
    assert not np.array_equal(drawn[0]["image_a"], drawn[1]["image_a"])
    again = batches.make_iterator(config, source)
    again.set_state({"next_index": 2})
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(next(again)), drawn[2])
    assert again.get_state() == iterator.get_state()


def test_pairs_are_of_one_person_and_repeats_count(folder):
    config = _config(folder)
    config.data.batch_size, config.data.pair_prob = 512, 0.7
    config.data.flip_prob = config.data.color_jitter = 0.0
    config.data.repeats = (("person 3", 5),)
    source = batches.open_train(config)
    drawn = jax.device_get(next(batches.make_iterator(config, source)))
    person = {
        row.tobytes(): i
        for row, i in zip(source.images, source.person_ids, strict=True)
    }
    first, second = (
        [person[row.tobytes()] for row in drawn[f"image_{side}"]] for side in "ab"
    )
    assert first == second
    both = zip(drawn["image_a"], drawn["image_b"], strict=True)
    same = [np.array_equal(a, b) for a, b in both]
    np.testing.assert_array_equal(drawn["is_pair"], ~np.array(same))
    assert abs(drawn["is_pair"].mean() - 0.7) < 0.1  # sd 0.02
    seen = collections.Counter(first)
    table = pairs.table_of(config.data, source)
    share = np.mean(table.slot_person == 3)
    assert abs(seen[3] / 512 - share) < 0.1 and share > 0.25


def test_masks_drawn_on_the_device_are_those_of_numpy():
    rng = np.random.default_rng(0)
    for _ in range(5):
        points = align.template(SIZE) + rng.normal(size=(5, 2))
        grow, soft = rng.uniform(0.9, 2.0, 4), rng.uniform(0.05, 0.5)
        wanted = mask.egg(points, SIZE, grow, soft)
        found = mask.egg(jnp.asarray(points), SIZE, jnp.asarray(grow), soft, xp=jnp)
        np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_a_mirrored_view_has_the_mirrored_mask():
    """What `transforms.flip` does: the mask follows the face."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:, : SIZE // 2] = 200
    points = align.template(SIZE) + np.array([[3.0, 0.0]] * 5)
    plain, flipped = (
        packed.random_view(
            jax.random.key(1),
            jnp.asarray(image),
            jnp.asarray(points, jnp.float32),
            flip_prob=prob,
            color_jitter=0.0,
        )
        for prob in (0.0, 1.0)
    )
    mirrored, landmarks = transforms.flip(image, points)
    np.testing.assert_array_equal(plain[0], image)
    np.testing.assert_array_equal(flipped[0], mirrored)
    middle = [
        np.average(np.arange(SIZE), weights=m.sum(0)) for m in (plain[1], flipped[1])
    ]
    assert middle[0] > SIZE / 2 - 0.5 > middle[1]
    assert abs(landmarks[:, 0].mean() - middle[1]) < 3


def test_colors_change_as_little_as_asked():
    image = jnp.full((SIZE, SIZE, 3), 100, jnp.uint8)
    points = jnp.asarray(align.template(SIZE), jnp.float32)
    seen = [
        packed.random_view(
            jax.random.key(i), image, points, flip_prob=0.0, color_jitter=0.1
        )[0]
        for i in range(8)
    ]
    values = np.array([x[0, 0, 0] for x in seen], int)
    assert len(set(values)) > 3 and np.abs(values - 100).max() <= 25
