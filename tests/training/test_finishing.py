"""Laws of finishing: the decoder alone learns, on estimates of the frozen UNet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from id2face_jax import identity
from id2face_jax.diffusion import ddim
from id2face_jax.generation import exports, generate
from id2face_jax.training import finishing, train
from id2face_jax.training.recomposition import Sides
from tests import runs
from tests.training import toy


@functools.cache
def drawn(**changes):
    """(objective, frozen model, both sides of a batch)."""
    config = toy.config("finishing")
    objective = finishing.make_finishing(config)
    batch = jax.tree.map(jnp.asarray, toy.batch())
    draws = objective.draw(jax.random.key(0), batch)
    draws |= {name: jnp.full_like(draws[name], x) for name, x in changes.items()}
    return objective, toy.start("finishing").frozen["model"], Sides(batch, draws)


def test_second_photos_start_from_noise_and_first_ones_anywhere():
    _, _, side = drawn()
    t = np.asarray(side.draws["t"])
    half = len(t) // 2
    assert np.all(t[half:] == 1.0) and len(set(t[:half])) == half
    assert np.all((t[:half] > 0) & (t[:half] < 1))


def test_estimates_are_of_the_photo_where_there_is_no_noise():
    """At t = 0 nothing is left to estimate."""
    objective, model, side = drawn(t=0.0)
    x0, mask = objective.estimates(model, side)
    z = objective.autoencoder.apply({}, side.pixels, method="encode")
    assert mask.shape == (*x0.shape[:3], 1)
    half = len(z) // 2
    np.testing.assert_allclose(x0[:half], z[:half], atol=1e-3)


def test_second_photos_are_drawn_by_the_deployed_sampler():
    """As the generator draws them, from the same noise, for the same identity."""
    objective, model, side = drawn()
    x0, _ = objective.estimates(model, side)
    config = toy.config("finishing")
    apply = functools.partial(objective.model.apply, {"params": model})
    half = len(x0) // 2
    z, zm, mask = generate.encode_latents(
        objective.autoencoder, {}, side.pixels, side.masks, objective.masked
    )
    asked = identity.orthogonal_map(
        apply(side.draws["sampled"], method="decode_identity"),
        side.embeddings,
        objective.angle,
    )
    a, _ = apply(z, method="encode_attributes")
    condition = apply(asked, a, jnp.ones(2 * half), method="recompose")

    def denoise(zt, t):
        alpha, sigma = objective.alpha_sigma(t)
        seen = objective.prediction.network_input(zt, alpha, sigma)
        out = apply(seen, zm, mask, t, condition, method="denoise")
        return objective.prediction.to_x0(out, zt, alpha, sigma)

    start = objective.temperature * side.draws["noise"]
    expected = ddim.sample(denoise, start, objective.steps, objective.alpha_sigma)
    np.testing.assert_allclose(x0[half:], expected[half:], atol=1e-4)
    assert objective.steps == config.model.sample_steps == 2


def test_second_photos_are_of_another_identity():
    """The sampled identity changes their estimates, and none of the first photos'."""
    objective, model, side = drawn()
    one, _ = objective.estimates(model, side)
    side.draws = side.draws | {"sampled": -side.draws["sampled"]}
    other, _ = objective.estimates(model, side)
    half = len(one) // 2
    np.testing.assert_array_equal(one[:half], other[:half])
    assert float(jnp.abs(one[half:] - other[half:]).max()) > 1e-3


def test_a_finished_run_exports_the_whole_model(tmp_path):
    """And what it was finished from is in it, but for the decoder."""
    config = runs.tiny_config("id2face")
    config.model.update(runs.ONE_LEVEL)
    start = toy.start_of(config)
    weights = {"model": start.ema, "autoencoder": start.frozen["autoencoder"]}
    exports.save_export(tmp_path / "export", config, weights)
    second = runs.tiny_config("finishing", train__init_from=str(tmp_path / "export"))
    second.model.update(runs.ONE_LEVEL)
    train.train_and_evaluate(second, tmp_path / "second")
    config, finished, _ = exports.load_run(tmp_path / "second")
    assert config.task == "id2face"
    runs.assert_same(finished["model"], weights["model"])
    assert set(finished["autoencoder"]) == {"decoder"}
    pairs = zip(
        jax.tree.leaves(finished["autoencoder"]),
        jax.tree.leaves(weights["autoencoder"]),
        strict=True,
    )
    assert any(not np.array_equal(a, b) for a, b in pairs)
