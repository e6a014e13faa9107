"""Transitions of DVBF: what they compute, what their parameters cost."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.models.dvbf.transitions import transition_layer

B, N, U, M = 4, 3, 2, 5


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def built(kind="locally_linear", size=N, controls=U, **changes):
    options = {"residual": True, "bayesian": True, "mixer_units": 0, "second_order": False}
    layer = transition_layer(kind, size, controls, M, 8, **(options | changes))
    layer.build()
    return layer


@pytest.mark.parametrize("residual", [True, False])
def test_locally_linear_is_a_mixture_of_triplets(residual):
    layer = built(residual=residual)
    z, u, w = normal(B, N), normal(B, U, seed=1), normal(B, N, seed=2)
    (matrices,) = layer.draw(tf.constant([0, 1]))
    alpha = layer.mode_weights(z, u).numpy()
    np.testing.assert_allclose(alpha.sum(1), 1.0, rtol=1e-5)
    A, rest = np.split(matrices.numpy(), [N], axis=1)
    control, noise = np.split(rest, [U], axis=1)
    expected = sum(
        alpha[:, i : i + 1] * (z @ A[i] + u @ control[i] + w @ noise[i]) for i in range(M)
    )
    found = layer(z, u, w, (matrices,))
    np.testing.assert_allclose(found, expected + (z if residual else 0.0), atol=1e-5)


def test_modes_may_be_told_apart_by_a_hidden_layer():
    z, u = np.abs(normal(B, N)), normal(B, U, seed=1)
    layer = built(mixer_units=7)
    assert [v.shape for v in layer.mixer_hidden.weights] == [(N + U, 7), (7,)]
    # Weights that see |z_1| only: what the single layer cannot.
    kernel = np.zeros((N + U, 7), np.float32)
    kernel[0, :2] = 1.0, -1.0
    layer.mixer_hidden.kernel.assign(kernel)
    last = np.zeros((7, M), np.float32)
    last[:2, 0] = 1.0
    layer.mixer.kernel.assign(last)
    mirrored = z * np.float32([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(layer.mode_weights(z, u), layer.mode_weights(mirrored, u))
    assert np.ptp(layer.mode_weights(z, u)[:, 0]) > 0.01


def test_parameters_are_drawn_around_their_mean():
    layer = built()
    layer.log_std.assign(np.full(layer.log_std.shape, np.log(0.3), np.float32))
    mean = layer.draw()[0].numpy()
    np.testing.assert_array_equal(mean, layer.matrices.numpy())
    draws = np.stack([layer.draw(tf.constant([0, k]))[0].numpy() for k in range(400)])
    assert np.abs(draws.mean(0) - mean).max() < 0.3 / 20 * 5
    np.testing.assert_allclose(draws.std(0).mean(), 0.3, rtol=0.02)
    point = built(bayesian=False)
    np.testing.assert_array_equal(point.draw(tf.constant([0, 1]))[0], point.matrices.numpy())
    assert float(point.kl()) == 0.0


@pytest.mark.tfp
def test_kl_is_the_least_over_isotropic_priors():
    import tensorflow_probability as tfp

    layer = built()
    layer.log_std.assign(normal(*layer.log_std.shape, seed=4) - 2.0)
    q = tfp.distributions.Normal(layer.matrices.numpy(), np.exp(layer.log_std.numpy()))
    scales = np.geomspace(0.02, 2.0, 800).astype(np.float32)
    costs = [
        float(tf.reduce_sum(tfp.distributions.kl_divergence(q, tfp.distributions.Normal(0.0, s))))
        for s in scales
    ]
    np.testing.assert_allclose(float(layer.kl()), min(costs), rtol=1e-4)


@pytest.mark.parametrize("kind", ["locally_linear", "gated"])
@pytest.mark.parametrize("control_size", [0, U])
def test_everything_moves_the_next_state(kind, control_size):
    layer = built(kind, controls=control_size)
    inputs = [tf.constant(normal(B, k, seed=k)) for k in (N, control_size, N)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(*inputs, layer.draw(tf.constant([0, 1]))) ** 2) + layer.kl()
    for gradient in tape.gradient(loss, [*inputs, *layer.trainable_variables]):
        assert np.isfinite(gradient).all()
        assert not np.size(gradient) or np.abs(gradient).max() > 0


@pytest.mark.parametrize("kind", ["locally_linear", "gated"])
def test_config_round_trip(kind):
    layer = built(kind)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("n", [4, 5])
def test_second_order_starts_as_positions_that_velocities_move(n, residual):
    layer = built(residual=residual, second_order=True, size=n)
    rng = np.random.default_rng(0)
    z, u, w = (rng.normal(size=(2000, k)).astype(np.float32) for k in (n, U, n))
    moved = layer(z, u, w, layer.draw()).numpy() - z
    slope = np.linalg.lstsq(np.hstack([z, u, w]), moved, rcond=None)[0]
    expected = np.zeros_like(slope)
    expected[[2, 3], [0, 1]] = 0.25
    expected[[n + U, n + U + 1], [0, 1]] = 0.025
    expected[[n + U, n + U + 1], [2, 3]] = 0.1
    # The rest is what all entries start with, 0.1 N(0, 1), averaged over the modes.
    assert np.abs(slope - expected).max() < 0.25
    assert np.abs(slope - expected).std() < 0.1


def test_gated_keeps_the_state_at_first():
    layer = built("gated")
    layer.gate.bias.assign(np.full(N, -20.0))
    z = normal(B, N)
    found = layer(z, np.zeros((B, U), np.float32), np.zeros((B, N), np.float32), ())
    np.testing.assert_allclose(found, z, atol=1e-5)


def test_unknown_kind():
    with pytest.raises(UserError, match="transition is 'cubic', expected one of"):
        transition_layer("cubic", N, U, M, 8, True, True, 0, False)


def test_gated_is_of_no_order():
    with pytest.raises(UserError, match="second_order is on, expected off for the gated"):
        built("gated", second_order=True)
