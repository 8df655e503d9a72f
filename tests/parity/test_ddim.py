"""The sampler walks as diffusers' DDIMScheduler does, state by state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.diffusion import ddim, discrete, process, schedule

STEPS = 10  # divides 1000: diffusers' "trailing" times are then exactly ours


def _cosine_betas() -> np.ndarray:
    """Our cosine schedule at diffusers' thousand steps: abar = alpha^2."""
    t = np.arange(1, 1001) / 1000
    signal = np.cos(0.5 * np.pi * t) ** 2
    return 1.0 - signal / np.concatenate([[1.0], signal[:-1]])


SCHEDULES = {
    "cosine": (schedule.alpha_sigma, {"trained_betas": _cosine_betas()}),
    "stable_diffusion": (
        discrete.alpha_sigma,
        {
            "beta_schedule": "scaled_linear",
            "beta_start": discrete.BETA_RANGE[0],
            "beta_end": discrete.BETA_RANGE[1],
        },
    ),
}
DIFFUSERS_NAMES = {"v": "v_prediction", "x0": "sample", "eps": "epsilon"}
# eps has no meaning where the terminal SNR is zero.
CASES = [("cosine", "v"), ("cosine", "x0")]
CASES += [("stable_diffusion", prediction) for prediction in DIFFUSERS_NAMES]


def _network(x):
    """Any function of x_t will do; this one mixes pixels and is not linear."""
    mixing = np.random.default_rng(4).normal(size=(6, 6)).astype(np.float32) / 3
    return np.tanh(np.asarray(x) @ mixing)


@pytest.mark.parametrize(("name", "prediction"), CASES)
def test_states_are_diffusers(torch, record, name, prediction):
    diffusers = pytest.importorskip("diffusers")
    alpha_sigma, arguments = SCHEDULES[name]
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=1000,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
        prediction_type=DIFFUSERS_NAMES[prediction],
        **arguments,
    )
    scheduler.set_timesteps(STEPS)
    noise = np.random.default_rng(3).normal(size=(2, 5, 6)).astype(np.float32)
    theirs, x = [], torch.from_numpy(noise)
    for step in scheduler.timesteps:
        theirs.append(x.numpy())
        out = torch.from_numpy(_network(x))
        x = scheduler.step(out, step, x, eta=0.0).prev_sample
    theirs.append(x.numpy())

    ours, times = [], []

    def denoise(xt, t):
        ours.append(np.asarray(xt))
        times.append(float(t[0]))
        out = jnp.asarray(_network(xt))
        return process.Prediction(prediction).to_x0(out, xt, *alpha_sigma(t))

    with jax.disable_jit():
        ours.append(
            np.asarray(ddim.sample(denoise, jnp.asarray(noise), STEPS, alpha_sigma))
        )
    numbers = discrete.timestep(jnp.asarray(times))
    np.testing.assert_allclose(numbers, scheduler.timesteps.numpy(), atol=1e-3)
    errors = [
        np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, theirs, strict=True)
    ]
    record(f"DDIM {name}, {prediction}: worst of {STEPS} states", max(errors))
    assert max(errors) < 1e-4
