"""Laws of the generator, on random weights: a tenth of a second each, once compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from id2face_jax.generation import generate
from id2face_jax.models import build
from id2face_jax.models.identity_vae import unit
from tests.draws import normal, random_params

SIZE, NUM = 32, 4
CONFIG = smoke.get_config()
SEEDS = jnp.array([3, 1, 4, 3], jnp.uint32)


def _masks():
    return jnp.zeros((NUM, SIZE, SIZE)).at[:, 8:24, 8:24].set(1.0).at[:, 24:26].set(0.5)


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM, SIZE, SIZE, 3)).astype(np.uint8)
    return generate.Faces(
        images=jnp.asarray(images),
        masks=_masks(),
        embeddings=unit(normal(NUM, CONFIG.model.embedding_dim)),
    )


@pytest.fixture(scope="module")
def weights():
    model, autoencoder = build.make_model(CONFIG), build.make_autoencoder(CONFIG)
    x = jnp.zeros((1, SIZE, SIZE, 3))
    z = jnp.zeros((1, 4, 4, CONFIG.autoencoder.latent_channels))
    f = jnp.zeros((1, CONFIG.model.embedding_dim))
    init = (z, z, z[..., :1], jnp.ones(1), f)
    return {
        "model": random_params(model, *init)["params"],
        "autoencoder": random_params(autoencoder, x, scale=0.05)["params"],
    }


@pytest.fixture(scope="module")
def run(weights):
    """run(mode, faces, seeds, angle, latents) -> (n, s, s, 3) uint8, compiled once."""

    @functools.partial(jax.jit, static_argnums=0)
    def call(mode, faces, seeds, angle, latents):
        return generate.generate(
            CONFIG,
            weights,
            faces,
            seeds,
            mode=mode,
            num_steps=2,
            angle=angle,
            latents=latents,
        )

    return lambda mode, faces, seeds=SEEDS, angle=90.0, latents=None: np.asarray(
        call(mode, faces, seeds, jnp.float32(angle), latents), np.int32
    )


def test_outside_the_mask_every_pixel_is_the_sources(run, faces):
    out = run("embedding", faces)
    outside = np.asarray(faces.masks) == 0.0
    np.testing.assert_array_equal(out[outside], np.asarray(faces.images)[outside])


def test_without_a_mask_the_picture_is_the_source(run, faces):
    out = run("embedding", faces.replace(masks=jnp.zeros_like(faces.masks)))
    np.testing.assert_array_equal(out, faces.images)


def test_inside_the_mask_the_source_is_replaced(run, faces):
    out, source = run("embedding", faces), np.asarray(faces.images, np.int32)
    inside = np.asarray(faces.masks) == 1.0
    assert np.mean(np.abs(out - source)[inside] > 8) > 0.5


def test_rows_do_not_depend_on_their_batch(run, faces):
    whole = run("embedding", faces)
    alone = run("embedding", jax.tree.map(lambda x: x[2:3], faces), SEEDS[2:3])
    # Another batch size sums in another order: a rounding at a level's edge.
    assert np.abs(whole[2:3] - alone).max() <= 1


def test_rows_do_not_depend_on_their_order(run, faces):
    order = jnp.array([2, 0, 3, 1])
    moved = run("embedding", jax.tree.map(lambda x: x[order], faces), SEEDS[order])
    assert np.abs(moved - run("embedding", faces)[order]).max() <= 1


def test_the_same_seed_gives_the_same_picture_and_another_gives_another(run, faces):
    one = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), faces)
    out = run("embedding", one)
    np.testing.assert_array_equal(out[0], out[3])  # SEEDS repeats 3
    assert np.abs(out[0] - out[1]).max() > 8


def test_modes_differ(run, faces):
    outs = {mode: run(mode, faces) for mode in generate.MODES if mode != "free"}
    names = sorted(outs)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(outs[one] - outs[other]).max() > 1, (one, other)


def test_appearance_is_kept_where_the_weights_know_directions_unless_free(
    weights, faces
):
    config, latents = CONFIG, normal(NUM, CONFIG.model.identity_dim)
    dim = config.model.embedding_dim
    directions = jnp.eye(dim)[:2]
    known = weights | {"appearance": directions}

    def ask(weights, mode):
        return generate.requested_embeddings(
            config, weights, faces, latents, mode=mode, angle=100.0
        )

    kept = ask(known, "embedding")
    np.testing.assert_allclose(kept[:, :2], faces.embeddings[:, :2], atol=1e-5)
    # The rest stands at the angle to what the directions leave of the source.
    rests = kept[:, 2:], faces.embeddings[:, 2:]
    cosines = jnp.sum(rests[0] * rests[1], axis=-1)
    cosines /= jnp.linalg.norm(rests[0], axis=-1) * jnp.linalg.norm(rests[1], axis=-1)
    np.testing.assert_allclose(cosines, np.cos(np.deg2rad(100.0)), atol=1e-5)
    np.testing.assert_array_equal(ask(known, "free"), ask(weights, "embedding"))
    assert np.abs(kept - ask(known, "free")).max() > 1e-2


def test_without_identity_the_embedding_is_not_looked_at(run, faces):
    other = faces.replace(embeddings=faces.embeddings[::-1])
    np.testing.assert_array_equal(run("null", faces), run("null", other))
    assert np.abs(run("own", faces) - run("own", other)).max() > 1


def test_given_latents_are_the_identity(run, faces):
    latents = normal(NUM, CONFIG.model.identity_dim)
    one, other = run("none", faces, latents=latents), run("none", faces)
    assert np.abs(one - other).max() > 1
    again = run("none", faces, latents=latents)
    np.testing.assert_array_equal(one, again)


def test_the_cooler_the_start_the_less_the_seed_says(weights, faces):
    one, latents = (
        jax.tree.map(lambda x: x[:1].repeat(NUM, 0), faces),
        jnp.zeros((4, 8)),
    )

    def spread(temperature):
        config = smoke.get_config()
        config.model.sample_temperature = temperature
        call = functools.partial(
            generate.generate, config, mode="none", num_steps=2, latents=latents
        )
        out = np.asarray(jax.jit(call)(weights, one, SEEDS), np.int32)
        return np.abs(out[1] - out[0]).mean()

    assert spread(0.0) == 0.0
    assert 0.0 < spread(0.5) < spread(1.0)


def test_the_angle_turns_the_face(run, faces):
    near, far = (
        run("embedding", faces, angle=30.0),
        run("embedding", faces, angle=150.0),
    )
    assert np.abs(near - far).max() > 1


@pytest.mark.parametrize("angle", [60.0, 90.0, 120.0])
def test_requested_embeddings_stand_at_the_angle_to_the_source(weights, faces, angle):
    latents = normal(NUM, CONFIG.model.identity_dim)
    requested = generate.requested_embeddings(
        CONFIG, weights, faces, latents, mode="embedding", angle=angle
    )
    cosines = jnp.sum(requested * faces.embeddings, axis=-1)
    np.testing.assert_allclose(cosines, np.cos(np.deg2rad(angle)), atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(requested, axis=-1), 1.0, atol=1e-5)


def test_an_unknown_mode_is_refused(weights, faces):
    with pytest.raises(ValueError, match="mode is 'blend'; expected one of"):
        generate.generate(CONFIG, weights, faces, SEEDS, mode="blend", num_steps=1)


def test_every_pixel_value_survives_the_way_in_and_out():
    levels = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_array_equal(
        generate.to_uint8(generate.to_float(levels)), np.arange(256)
    )
    np.testing.assert_allclose(generate.to_float(levels[::255]), [-1.0, 1.0])


def test_pixels_out_of_range_are_clipped():
    np.testing.assert_array_equal(
        generate.to_uint8(jnp.array([-3.0, 3.0])), np.array([0, 255], np.uint8)
    )


def test_latent_mask_is_the_covered_share_of_each_cell():
    shares = generate.latent_mask(_masks(), 8)[0, :, :, 0]
    expected = np.zeros((4, 4))
    expected[1:3, 1:3] = 1.0
    expected[3] = 2 / 8 * 0.5
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_eps_needs_a_schedule_that_keeps_some_signal():
    config = smoke.get_config()
    config.model.prediction = "eps"
    with pytest.raises(ValueError, match="no x0 at the start of the cosine"):
        build.noise_schedule(config)
    config.model.schedule = "stable_diffusion"
    alpha, _ = build.noise_schedule(config)(jnp.ones(1))
    assert alpha[0] > 0.05


def test_an_unknown_schedule_is_refused():
    config = smoke.get_config()
    config.model.schedule = "linear"
    with pytest.raises(ValueError, match="model.schedule is 'linear'; expected cosine"):
        build.noise_schedule(config)


def test_without_masking_the_network_sees_nothing_and_paints_all(weights, faces):
    config = smoke.get_config()
    x = generate.to_float(faces.images)

    def encode():
        return generate.encode_crops(config, weights["autoencoder"], x, faces.masks)

    z, seen, mask = encode()
    assert np.any(seen != 0.0) and np.any(mask != 1.0)
    config.model.masked = False
    same_z, seen, mask = encode()
    np.testing.assert_array_equal(same_z, z)
    assert not np.any(seen) and np.all(mask == 1.0)


@pytest.mark.parametrize("field", ["harmonizer", "identity_space"])
def test_an_unknown_part_is_refused(field):
    config = smoke.get_config()
    config.model[field] = "magic"
    with pytest.raises(ValueError, match=f"model.{field} is 'magic'; use one of"):
        model = build.make_model(config)
        jax.eval_shape(
            lambda f: model.init(jax.random.key(0), f, method="encode_identity"),
            jnp.zeros((1, 16)),
        )


def test_a_face_made_of_its_own_latents_is_the_reconstruction(run, weights, faces):
    own = generate.identity_latents(CONFIG, weights, faces)
    rebuilt = run("none", faces, latents=own)
    assert np.abs(rebuilt - run("own", faces)).max() <= 1


def test_attributes_of_another_face_change_the_picture_and_own_ones_do_not(
    weights, faces
):
    def draw(attributes):
        drawn = generate.generate(
            CONFIG,
            weights,
            faces,
            SEEDS,
            mode="own",
            num_steps=1,
            attributes=attributes,
        )
        return np.asarray(drawn, np.int32)

    own = generate.attribute_latents(CONFIG, weights, faces)
    usual = draw(None)
    assert np.abs(draw(own) - usual).max() <= 1
    assert np.abs(draw(own[::-1]) - usual).max() > 8
