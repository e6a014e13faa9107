"""Bad input: one line that names the argument, the same in every method."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.errors import UserError

B, T, N, M = 2, 3, 2, 2
METHODS = lgssm.METHODS


def good():
    rng = np.random.default_rng(0)
    model = reference.random_model(rng, B, T, N, M)
    return {**model._asdict(), "observations": rng.normal(size=(B, T, M)), "observed": None}


def call(function=lgssm.log_likelihood, changed=None, **options):
    inputs = {**good(), **(changed or {})}
    observations, observed = inputs.pop("observations"), inputs.pop("observed")
    return function(lgssm.LGSSM(**inputs), observations, observed, **options)


def with_entry(name, value, index=-1):
    array = np.array(good()[name])
    array.flat[index] = value
    return {name: array}


# what is wrong: the argument given, words of the message
BAD = {
    "mask of 2": ({"observed": np.full((B, T), 2)}, "observed holds 2"),
    "mask of a half": ({"observed": np.full((B, T), 0.5)}, "observed holds 0.5"),
    "mask of -1": ({"observed": np.full((B, T), -1)}, "observed holds -1"),
    "mask of NaN": ({"observed": np.full((B, T), np.nan)}, "observed holds nan"),
    "mask of text": ({"observed": [["yes"] * T] * B}, "observed has dtype string"),
    "ragged mask": ({"observed": [[1, 0, 1], [1]]}, "observed is a list"),
    "mask of one number": ({"observed": 1.0}, "observed has shape ()"),
    "negative q": (with_entry("transition_noise", -1.0), "transition_noise holds -1"),
    "q of NaN": (with_entry("transition_noise", np.nan), "transition_noise holds nan"),
    "infinite q": (with_entry("transition_noise", np.inf), "transition_noise holds inf"),
    "negative r": (with_entry("emission_noise", -0.1), "emission_noise holds -0.1"),
    "r of zero": (with_entry("emission_noise", 0.0), "emission_noise holds 0.0"),
    "r of NaN": (with_entry("emission_noise", np.nan), "emission_noise holds nan"),
    "A of NaN": (with_entry("transition", np.nan), "transition holds nan"),
    "infinite A": (with_entry("transition", np.inf, 0), "transition holds inf"),
    "b of NaN": (with_entry("transition_offset", np.nan), "transition_offset holds nan"),
    "infinite C": (with_entry("emission", -np.inf), "emission holds -inf"),
    "C of NaN": (with_entry("emission", np.nan), "emission holds nan"),
    "start of NaN": (with_entry("initial_mean", np.nan), "initial_mean holds nan"),
    "P of NaN": (with_entry("initial_covariance", np.nan), "initial_covariance holds nan"),
    "infinite P": ({"initial_covariance": np.diag([1.0, np.inf])}, "initial_covariance holds inf"),
    "P not symmetric": (
        {"initial_covariance": np.array([[1.0, 0.5], [0.0, 1.0]])},
        "initial_covariance differs from its transpose by 0.5",
    ),
    "negative P": ({"initial_covariance": -np.eye(N)}, "initial_covariance has the eigenvalue -1"),
    "indefinite P": (
        {"initial_covariance": np.array([[1.0, 2.0], [2.0, 1.0]])},
        "initial_covariance has the eigenvalue -1",
    ),
    "one indefinite P of two": (
        {"initial_covariance": np.stack([np.eye(N), np.diag([1.0, -1e-3])])},
        "initial_covariance has the eigenvalue -0.001",
    ),
    "y of NaN": (with_entry("observations", np.nan), "observations hold nan"),
    "infinite y": (with_entry("observations", np.inf), "observations hold inf"),
    "y of float32": ({"observations": tf.zeros((B, T, M))}, "have dtype float32"),
    "y of text": ({"observations": "frames"}, "observations have dtype string"),
    "ragged y": ({"observations": [[[0.0, 1.0]], [[0.0]]]}, "observations is a list"),
    "no steps": ({"observations": np.zeros((B, 0, M))}, "observations have shape (2, 0, 2)"),
    "no sequences": ({"observations": np.zeros((0, T, M))}, "observations have shape (0, 3, 2)"),
    "no y": ({"observations": None}, "observations is a NoneType"),
    "no A": ({"transition": None}, "transition is a NoneType"),
    "A as one number": ({"transition": np.float64(1.0)}, "transition has shape ()"),
    "A of integers": ({"transition": np.eye(N, dtype=int)}, "transition has dtype int64"),
    "q of float32": ({"transition_noise": tf.ones(N)}, "has dtype float32"),
    "no q": ({"transition_noise": None}, "transition_noise is None"),
    "no C": ({"emission": None}, "emission is a NoneType"),
    "no P": ({"initial_covariance": None}, "initial_covariance is None"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_in_every_method(name):
    changed, words = BAD[name]
    messages = set()
    for method in METHODS:
        with pytest.raises(UserError) as error:
            call(changed=changed, method=method)
        messages.add(str(error.value))
    (message,) = messages
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("function", [lgssm.filter, lgssm.smooth, lgssm.posterior_sample])
@pytest.mark.parametrize("name", ["mask of 2", "negative q", "indefinite P", "no steps"])
def test_other_calls_refuse_the_same(function, name):
    changed, words = BAD[name]
    with pytest.raises(UserError) as error:
        call(function, changed)
    assert words in str(error.value)


@pytest.mark.parametrize("function", [lgssm.sample, lgssm.joint_log_prob])
@pytest.mark.parametrize("name", ["negative q", "indefinite P", "r of zero"])
def test_draws_and_densities_refuse_bad_models(function, name):
    changed, words = BAD[name]
    inputs = {**good(), **changed}
    observations, _ = inputs.pop("observations"), inputs.pop("observed")
    arguments = [1] if function is lgssm.sample else [np.zeros((B, T, N)), observations]
    with pytest.raises(UserError) as error:
        function(lgssm.LGSSM(**inputs), *arguments)
    assert words in str(error.value)


def sizes(model, y):
    """Calls with a wrong number of steps, sequences or draws, and what each says."""
    result = lgssm.filter(model, y)
    for value in (0, -1, 2.5, True, "a"):
        expected = "expected an integer of at least 1"
        yield lambda v=value: lgssm.sample(model, 0, v), expected
        yield lambda v=value: lgssm.sample(model, 0, 3, v), expected
        yield lambda v=value: lgssm.posterior_sample(model, y, num_samples=v), expected
        yield lambda v=value: lgssm.forecast(model, result, v), expected
    for shape in ((B, T + 1, N), (B, T, N + 1), (B + 1, T, N), (1, T, N), (T, N)):
        latents = np.zeros(shape)
        expected = rf"latents have shape \({', '.join(map(str, shape))}\)"
        yield lambda z=latents: lgssm.joint_log_prob(model, z, y), expected
        yield lambda z=latents: lgssm.posterior_log_prob(model, result, z), expected
    gone = np.full((B, T, N), np.nan)
    yield lambda: lgssm.joint_log_prob(model, gone, y), "latents hold nan"
    many = model._replace(initial_mean=np.zeros((B, N)))
    yield lambda: lgssm.sample(many, 0, 3, B + 1), f"batch_size is {B + 1}, expected {B}, as"


def test_sizes_and_latents_that_do_not_fit_are_one_line():
    inputs = good()
    y, _ = inputs.pop("observations"), inputs.pop("observed")
    for call_it, words in sizes(lgssm.LGSSM(**inputs), y):
        with pytest.raises(UserError, match=words) as error:
            call_it()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"), [("transition_noise", np.zeros(N)), ("initial_covariance", np.zeros((N, N)))]
)
def test_latents_without_a_density_are_refused(name, value):
    inputs = {**good(), name: value}
    observations, _ = inputs.pop("observations"), inputs.pop("observed")
    with pytest.raises(UserError, match=name):
        lgssm.joint_log_prob(lgssm.LGSSM(**inputs), np.zeros((B, T, N)), observations)


def test_numbers_under_a_zero_may_be_anything():
    observed = np.ones((B, T, M))
    observed[0, 1, 0] = 0.0
    changed = {**with_entry("observations", np.nan, 2), "observed": observed}
    assert np.all(np.isfinite(call(changed=changed)))


def test_rounding_of_a_covariance_is_no_error():
    for dtype in (np.float32, np.float64):
        root = np.random.default_rng(0).normal(size=(50, 4, 1)).astype(dtype)
        covariances = root @ np.swapaxes(root, -1, -2)  # singular: eigenvalues of -eps
        covariances[:, 0, 1] *= 1 + np.finfo(dtype).eps
        model = reference.random_model(np.random.default_rng(0), 50, 1, 4, 1).cast(dtype)
        model = lgssm.LGSSM(*model._replace(initial_covariance=covariances))
        assert np.all(np.isfinite(lgssm.log_likelihood(model, np.ones((50, 1, 1), dtype))))


GRAPHS = ["mask of 2", "negative q", "r of zero", "C of NaN", "P not symmetric", "indefinite P"]


@pytest.fixture(scope="module")
def checked_graph():
    inputs = {**good(), "observed": np.ones((B, T))}
    specification = {
        name: tf.TensorSpec(np.shape(value), tf.float64) for name, value in inputs.items()
    }

    @tf.function(autograph=False, input_signature=[specification])
    def graph(inputs):
        inputs = dict(inputs)
        observations, observed = inputs.pop("observations"), inputs.pop("observed")
        model = lgssm.LGSSM(**inputs)
        return lgssm.log_likelihood(model, observations, observed, validate=True)

    def run(changed):
        return graph({k: tf.cast(v, tf.float64) for k, v in {**inputs, **changed}.items()})

    return run


@pytest.mark.parametrize("name", [*GRAPHS, "y of NaN"])
def test_validate_checks_the_tensors_of_a_graph(checked_graph, name):
    changed, words = BAD[name]
    value = next(iter(changed.values()))
    shape = np.shape({**good(), "observed": np.ones((B, T))}[next(iter(changed))])
    changed = {next(iter(changed)): np.broadcast_to(value, shape)}
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        checked_graph(changed)
    assert words.split()[0] in str(error.value)


def test_validate_lets_good_input_pass(checked_graph):
    assert reference.scaled_error(checked_graph({}), call()) < 1e-12


def unknown(*shape):
    return tf.TensorSpec(shape or None, tf.float64)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_shapes_in_a_graph(method):
    inputs = good()
    model = lgssm.LGSSM(*(inputs[name] for name in lgssm.LGSSM._fields))

    def graph(observations, observed):
        return lgssm.log_likelihood(model, observations, observed, method=method)

    def concrete(*signature):
        function = tf.function(graph, autograph=False, input_signature=signature)
        return function.get_concrete_function()

    for signature, name in [
        ((unknown(), unknown(B, T)), "observations"),
        ((unknown(B, T, M), unknown()), "observed"),
    ]:
        with pytest.raises(UserError, match=rf"^{name} ha.* shape <unknown>"):
            concrete(*signature)
    dynamic = concrete(unknown(None, None, None), unknown(None, None))
    ones = tf.ones((B, T), tf.float64)
    assert (
        reference.scaled_error(dynamic(tf.constant(inputs["observations"]), ones), call()) < 1e-12
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="no step"):
        dynamic(tf.zeros((B, 0, M), tf.float64), ones[:, :0])


# initial covariance
SINGULAR = {
    "zero": np.zeros((3, 3)),
    "one direction": np.diag([1.0, 0.0, 0.0]),
    "all together": np.ones((3, 3)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SINGULAR)
def test_singular_initial_covariances(name, method):
    rng = np.random.default_rng(1)
    model = reference.random_model(rng, B, T, 3, M)._replace(initial_covariance=SINGULAR[name])
    y = rng.normal(size=(B, T, M))
    result = lgssm.smooth(lgssm.LGSSM(*model), y, method=method)
    reference.assert_moments_close(result, reference.dense_posterior(model, y), 1e-8)
    fixed = model._replace(transition_noise=np.zeros(3))
    if method == "tfp":
        with pytest.raises(UserError, match="singular"):
            lgssm.smooth(lgssm.LGSSM(*fixed), y, method=method)
    else:
        result = lgssm.smooth(lgssm.LGSSM(*fixed), y, method=method)
        reference.assert_moments_close(result, reference.dense_posterior(fixed, y), 1e-8)


def test_draws_from_a_singular_start():
    inputs = {**good(), "initial_covariance": np.ones((N, N)), "initial_mean": np.zeros(N)}
    del inputs["observations"], inputs["observed"]
    latents, _ = lgssm.sample(lgssm.LGSSM(**inputs), seed=1)
    np.testing.assert_allclose(latents[:, 0, 0], latents[:, 0, 1])
    known = lgssm.LGSSM(**{**inputs, "initial_covariance": np.zeros((N, N))})
    assert np.all(lgssm.sample(known, seed=1)[0][:, 0] == 0.0)
