"""The dynamics parameter network, in all its kinds."""

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.layers import DynamicsParameterNetwork

B, T, M, K, L, WINDOW = 2, 6, 2, 4, 3, 3
# Kind -> how many of the last encodings decide the weights.
MEMORY = {"lstm": T, "gru": T, "mlp": 1, "fifo": WINDOW}
kinds = pytest.mark.parametrize("kind", MEMORY)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_network(kind="lstm", num_modes=K, learned_controls=0):
    network = DynamicsParameterNetwork(num_modes, 24, kind, WINDOW, learned_controls)
    network.build((None, None, M))
    for i, variable in enumerate(network.trainable_variables):
        variable.assign(normal(*variable.shape, seed=i))
    return network


@kinds
@pytest.mark.parametrize("learned_controls", [0, L])
def test_sequence_is_start_and_steps(kind, learned_controls):
    network, a = make_network(kind, learned_controls=learned_controls), normal(B, T, M)
    parameters, state = network.start(B)
    steps = [parameters]
    for t in range(T):
        parameters, state = network.step(a[:, t], state)
        steps.append(parameters)
    whole = network(a)
    assert whole.mode_weights.shape == (B, T + 1, K)
    assert whole.controls.shape == (B, T + 1, learned_controls)
    for found, expected in zip(whole, zip(*steps, strict=True), strict=True):
        np.testing.assert_allclose(found, np.stack(expected, 1), atol=1e-5)


@kinds
def test_weights_are_a_distribution(kind):
    weights = make_network(kind)(10 * normal(B, T, M)).mode_weights.numpy()
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert weights.std(axis=1).max() > 0.05  # and no constant one


@pytest.mark.parametrize("kind", [*MEMORY, "constant"])
def test_one_mode_weighs_one(kind):
    weights = make_network(kind, num_modes=1)(normal(B, T, M)).mode_weights
    # A softmax of one value is x / x: by a reciprocal on some processors, two roundings off.
    np.testing.assert_allclose(weights, np.ones((B, T + 1, 1)), rtol=2 * np.finfo(np.float32).eps)


def test_a_constant_network_has_constant_controls():
    controls = make_network("constant", 1, L)(normal(B, T, M)).controls.numpy()
    np.testing.assert_array_equal(controls, np.broadcast_to(controls[:1, :1], controls.shape))
    assert np.abs(controls).min() > 0


@kinds
@pytest.mark.parametrize("t", range(T))
def test_parameters_depend_on_earlier_encodings_only(kind, t):
    network, a = make_network(kind, learned_controls=L), normal(B, T, M)
    changed = a.copy()
    changed[:, t] += 1.0
    for before, after in zip(network(a), network(changed), strict=True):
        difference = np.abs(after - before).max(axis=(0, 2))
        reached = slice(t + 1, t + 1 + MEMORY[kind])
        assert (difference[: t + 1] < 1e-6).all()  # alpha_1 … alpha_t: a_t comes too late
        assert (difference[reached] > 1e-5).all()
        assert (difference[reached.stop :] < 1e-6).all()


@kinds
def test_first_weights_come_from_the_start_encoding(kind):
    network, a = make_network(kind), normal(B, T, M)
    first = network(a).mode_weights[:, 0]
    np.testing.assert_allclose(first[0], first[1], atol=1e-6)
    network.start_encoding.assign_add([1.0, -1.0])
    assert np.abs(network(a).mode_weights[:, 0] - first).max() > 1e-3


@pytest.mark.parametrize("kind", [*MEMORY, "constant"])
def test_network_in_a_graph_of_unknown_sizes(kind):
    num_modes = 1 if kind == "constant" else K
    network, a = make_network(kind, num_modes, learned_controls=L), normal(B, T, M)
    graph = tf.function(network, input_signature=[tf.TensorSpec([None, None, M])], autograph=False)
    for found, expected in zip(graph(a), network(a), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert graph(a[:1, :2]).mode_weights.shape == (1, 3, num_modes)


@kinds
def test_serialisation(kind):
    network = make_network(kind, learned_controls=L)
    again = DynamicsParameterNetwork.from_config(network.get_config())
    again.build((None, None, M))
    for new, old in zip(again.variables, network.variables, strict=True):
        new.assign(old)
    a = normal(B, T, M)
    np.testing.assert_array_equal(again(a).mode_weights, network(a).mode_weights)


@pytest.mark.parametrize("num_modes", [0, 1001])
def test_number_of_modes(num_modes):
    with pytest.raises(UserError, match=f"num_modes is {num_modes}, expected 1 to 1000"):
        DynamicsParameterNetwork(num_modes, 5)


def test_a_constant_network_has_one_mode():
    with pytest.raises(UserError, match="num_modes is 3, expected 1"):
        DynamicsParameterNetwork(3, 5, "constant")


def test_unknown_kind():
    with pytest.raises(UserError, match="'tree', expected one of lstm, gru"):
        DynamicsParameterNetwork(3, 5, "tree")
