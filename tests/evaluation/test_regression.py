"""What a straight map reads off latent states."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data import SequenceData
from kvae_tf.data.worlds import pendulum
from kvae_tf.models import DVBF, Latents

NOISE = 0.1


class Oracle:
    """Knows the pendulum's state from its frames, up to a rotation and some variance."""

    supports = frozenset({"filter"})
    filter_warmup = 0
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]

    def __init__(self, variance=NOISE**2):
        self.variance = variance

    def filter(self, frames, observed, controls):
        # The states ride on the controls: a stand-in for perfect inference.
        z = tf.cast(controls, tf.float64) @ self.rotation + 3.0
        covariance = self.variance * tf.eye(3, batch_shape=tf.shape(z)[:2], dtype=tf.float64)
        return Latents(z, covariance)


def told(num_sequences, seed):
    data = pendulum.simulate(num_sequences, 10, seed)
    truth = np.stack(list(evaluation.quantities(data).values()), -1)
    return SequenceData.from_arrays(
        data.frames, controls=truth, states=data.states, state_names=data.state_names
    )


def test_quantities_of_a_pendulum():
    data = pendulum.simulate(3, 4, 0)
    found = evaluation.quantities(data)
    assert list(found) == ["sin", "cos", "velocity"]
    np.testing.assert_allclose(found["sin"] ** 2 + found["cos"] ** 2, 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found["velocity"], data.states[..., 1])
    assert evaluation.quantities(SequenceData.from_arrays(data.frames)) == {}


def test_perfect_states_are_read_off():
    found = evaluation.regression(Oracle(0.0), told(40, 0), told(30, 1))
    np.testing.assert_allclose(found.r_squared, 1.0, atol=1e-6)
    assert found.names == ("sin", "cos", "velocity")


def test_samples_not_means_are_judged():
    train, test = told(300, 0), told(200, 1)
    found = evaluation.regression(Oracle(), train, test)
    truth = np.stack(list(evaluation.quantities(test).values()), -1).reshape(-1, 3)
    # Noise on the regressors: the residual is what a Gaussian of the same moments would leave.
    moments = np.cov(truth.T)
    residual = moments - moments @ np.linalg.inv(moments + NOISE**2 * np.eye(3)) @ moments
    expected = 1.0 - np.diag(residual) / np.diag(moments)
    np.testing.assert_allclose(found.r_squared, expected, atol=0.01)
    count = len(truth)
    scores = -0.5 * count * (np.log(2 * np.pi * np.diag(residual)) + 1)
    np.testing.assert_allclose(found.log_likelihood, scores, rtol=0.05, atol=0.02 * count)


def test_draws_have_the_moments():
    data = told(20, 0)
    model = Oracle()
    draws = np.stack([evaluation.latent_samples(model, data, seed) for seed in range(50)])
    means = Oracle().filter(data.frames, None, data.controls).means.numpy()
    assert np.abs(draws.mean(0) - means).max() < 5 * NOISE / np.sqrt(50)
    np.testing.assert_allclose(draws.std(0).mean(), NOISE, rtol=0.04)


@pytest.mark.parametrize("blind", [0, 1])
def test_no_states_no_regression(blind):
    parts = [told(5, 0), told(5, 1)]
    parts[blind] = SequenceData.from_arrays(parts[blind].frames, controls=parts[blind].controls)
    assert evaluation.regression(Oracle(), *parts) is None


class Warming(Oracle):
    """Of its first steps it says what nobody can say from the frames until then."""

    filter_warmup = 3

    def filter(self, frames, observed, controls):
        z, covariance = super().filter(frames, observed, controls)
        is_honest = tf.range(tf.shape(z)[1])[:, None] >= self.filter_warmup
        return Latents(tf.where(is_honest, z, -z), covariance)


def test_steps_that_hear_the_future_are_neither_fitted_nor_judged():
    found = evaluation.regression(Warming(0.0), told(40, 0), told(30, 1))
    np.testing.assert_allclose(found.r_squared, 1.0, atol=1e-6)


def test_smoothed_states_are_judged_from_the_first_step_on():
    class Smoother(Warming):
        supports = frozenset({"filter", "smooth"})

        def smooth(self, frames, observed, controls):
            return Oracle.filter(self, frames, observed, controls)

    assert evaluation.first_step(Smoother()) == 0
    assert evaluation.first_step(Warming()) == 3


def test_sequences_of_which_no_step_is_filtered():
    class Slow(Warming):
        filter_warmup = 10

    assert evaluation.regression(Slow(), told(5, 0), told(5, 1)) is None


@pytest.mark.parametrize("network", ["birnn", "mlp"])
@pytest.mark.parametrize("num_frames", [1, 3])
def test_a_dvbf_filters_after_its_warmup(network, num_frames):
    """Of two films that part at a step, filtered states are the same until then, not before."""
    model = DVBF((4, 4, 1), units=(6,), latent_size=2, dynamics_units=4,
                 initial_network=network, initial_frames=num_frames)  # fmt: skip
    model.build()
    assert model.filter_warmup == num_frames - 1
    frames = np.random.default_rng(0).random((2, 6, 4, 4, 1)).astype(np.float32)
    for parting in range(1, 6):
        other = frames.copy()
        other[:, parting:] = 1.0 - other[:, parting:]
        one, two = (model.filter(x).means.numpy() for x in (frames, other))
        alike = np.isclose(one, two, atol=1e-6).all((0, 2))
        assert alike[model.filter_warmup : parting].all()
        assert not alike[:num_frames].any() or parting >= num_frames
