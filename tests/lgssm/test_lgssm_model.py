"""The model's equivalent in TFP, and one clear error for every argument of a wrong shape."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from kvae_tf import lgssm

B, T, N, M = 2, 5, 3, 2


def case(kind="per_step", **options):
    rng = np.random.default_rng(0)
    model = reference.random_model(rng, B, T, N, M, **options)
    y = reference.simulate(rng, model, B, T)[1]
    return lgssm.LGSSM(*model.cast(np.float64)), y, reference.random_mask(rng, kind, B, T, M)


OPTIONS = {
    "time_varying": {"step_noises": True},
    "shared_noises": {"offset": False},
    "time_invariant": {"time_invariant": True, "offset": False, "batched_initial": False},
}


@pytest.mark.tfp
@pytest.mark.parametrize("name", OPTIONS)
def test_tfp_model_is_equivalent(name):
    model, y, mask = case(**OPTIONS[name])
    theirs = model.to_tfp(T)
    assert theirs.event_shape == (T, M)
    ours = lgssm.smooth(model, y, mask)
    log_prob = theirs.log_prob(y, mask=mask == 0)
    means, covariances = theirs.posterior_marginals(y, mask=mask == 0)
    assert reference.scaled_error(log_prob, ours.log_likelihood) < 1e-10
    assert reference.scaled_error(means, ours.smoothed_means) < 1e-10
    assert reference.scaled_error(covariances, ours.smoothed_covariances) < 1e-10


@pytest.mark.tfp
def test_tfp_model_answers_at_its_last_step():
    model, _, _ = case(step_noises=True)
    theirs = model.to_tfp(T)
    matrix = theirs.transition_matrix(T - 1).to_dense()
    noise = theirs.transition_noise(T - 1)
    assert np.array_equal(matrix, model.transition[:, T - 1])
    assert np.allclose(noise.mean(), model.transition_offset[:, T - 1])
    assert np.allclose(noise.variance(), model.transition_noise[:, T - 1])
    assert np.array_equal(theirs.observation_matrix(T - 1).to_dense(), model.emission[:, T - 1])


@pytest.mark.tfp
def test_tfp_model_samples():
    model, _, _ = case()
    assert model.to_tfp(T).sample(4, seed=(1, 2)).shape == (4, B, T, M)


# argument: a wrong shape
SHAPES = {
    "transition not square": ("transition", (B, T, N, N - 1)),
    "transition of rank 3": ("transition", (T, N, N)),
    "transition of another length": ("transition", (B, T - 1, N, N)),
    "transition of another batch": ("transition", (B + 1, T, N, N)),
    "offset of another size": ("transition_offset", (B, T, N + 1)),
    "transition noise of another size": ("transition_noise", (N + 1,)),
    "transition noise as a matrix": ("transition_noise", (N, N)),
    "emission of another state": ("emission", (B, T, M, N + 1)),
    "emission of another length": ("emission", (B, T - 1, M, N)),
    "emission noise of another size": ("emission_noise", (M + 1,)),
    "emission noise of another length": ("emission_noise", (B, T + 2, M)),
    "initial mean of another size": ("initial_mean", (B, N - 1)),
    "initial mean of another batch": ("initial_mean", (B + 1, N)),
    "initial covariance not square": ("initial_covariance", (N, N + 1)),
    "initial covariance as variances": ("initial_covariance", (N,)),
    "observations without a batch": ("observations", (T, M)),
    "observations of another size": ("observations", (B, T, M + 1)),
    "mask of another length": ("observed", (B, T + 1)),
    "mask of another size": ("observed", (B, T, M + 1)),
    "mask of all sequences of another length": ("observed", (T + 1,)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_wrong_shape_is_one_line_naming_the_argument(name):
    argument, shape = SHAPES[name]
    model, y, mask = case()
    arguments = {**model._asdict(), "observations": y, "observed": mask, argument: np.ones(shape)}
    with pytest.raises(ValueError, match=rf"\b{argument}\b") as error:
        lgssm.filter(
            observations=arguments.pop("observations"),
            observed=arguments.pop("observed"),
            model=lgssm.LGSSM(**arguments),
        )
    assert one_line(error)


def one_line(error):
    return len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("function", [lgssm.filter, lgssm.smooth, lgssm.log_likelihood])
def test_unknown_method_is_one_clear_error(function):
    with pytest.raises(ValueError, match="kalman") as error:
        function(*case(), method="kalman")
    assert one_line(error)


@pytest.mark.tfp
@pytest.mark.parametrize("function", [lgssm.filter, lgssm.smooth, lgssm.log_likelihood])
def test_tfp_refuses_a_mask_of_single_dimensions(function):
    with pytest.raises(ValueError, match="observed") as error:
        function(*case("per_dimension"), method="tfp")
    assert one_line(error)


@pytest.mark.parametrize("method", ["parallel", "tfp"])
def test_stabilised_is_sequential_only(method):
    with pytest.raises(ValueError, match="stabilised") as error:
        lgssm.smooth(*case(), method=method, stabilised=True)
    assert one_line(error)


def test_single_and_double_precision_do_not_mix_silently():
    model, y, mask = case()
    result = lgssm.filter(lgssm.LGSSM(*(np.float32(x) for x in model)), np.float32(y), mask)
    assert result.filtered_means.dtype == tf.float32
    result = lgssm.filter(model, y, mask.astype(np.float32))
    assert result.filtered_means.dtype == tf.float64
