"""Float32 models: results are accurate to float32, with TensorFloat-32 and for any noises."""

import functools

import numpy as np
import pytest
import reference
import tensorflow as tf
from tensorflow.python.ops import gen_linalg_ops, gen_math_ops

from kvae_tf import lgssm

METHODS = ("sequential", "parallel")
EPS = np.finfo(np.float32).eps
# emission noise, process noise, initial variance
HARD = {
    "small_noises": (1e-6, 1e-6, 20.0),
    "no_process_noise": (1e-6, 0.0, 20.0),
    "wide_start": (1e-6, 1e-4, 1e3),
    "usual": (0.03, 0.08, 20.0),
}


@functools.cache
def case(name, B=2, T=10, n=4, m=2):
    """A float32 model that rotates the state, observations, mask."""
    r, q, variance = HARD[name]
    rng = np.random.default_rng(0)
    model = reference.random_model(rng, B, T, n, m, offset=False)
    model = model._replace(
        transition=np.linalg.qr(model.transition)[0],
        transition_offset=np.zeros((B, T, n)),
        transition_noise=np.full(n, q),
        emission_noise=np.full(m, r),
        initial_covariance=variance * np.eye(n),
    ).cast(np.float32)
    mask = reference.random_mask(rng, "per_step", B, T, m).astype(np.float32)
    y = reference.simulate(rng, model.cast(np.float64), B, T)[1].astype(np.float32)
    return model, y, mask


def all_of(function, model, y, mask):
    """What `function` gives, and its gradient in all inputs."""
    inputs = [*map(tf.convert_to_tensor, model), tf.convert_to_tensor(y)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        result = function(lgssm.LGSSM(*inputs[:-1]), inputs[-1], mask)
        loss = tf.add_n([tf.reduce_sum(x) for x in tf.nest.flatten(result)])
    return result, tape.gradient(loss, inputs, unconnected_gradients="zero")


def density_of_a_draw(model, y, mask):
    z, drawn = lgssm.sample(model, seed=(1, 2))
    joint = lgssm.joint_log_prob(model, z, drawn, mask)
    return joint - lgssm.posterior_log_prob(model, lgssm.filter(model, drawn, mask), z)


FUNCTIONS = {
    **{
        f"{name}_{method}": functools.partial(getattr(lgssm, name), method=method)
        for name in ("filter", "smooth", "log_likelihood")
        for method in METHODS
    },
    "smooth_stabilised": functools.partial(lgssm.smooth, stabilised=True),
    "forecast": lambda *inputs: lgssm.forecast(inputs[0], lgssm.filter(*inputs), 3),
    "posterior_sample": lambda *inputs: lgssm.posterior_sample(*inputs, seed=(1, 2)),
    "density_of_a_draw": density_of_a_draw,
}


def coarse_products(function, *arguments):
    """The matrix products of a graph, functions in it included, that TensorFloat-32 reaches."""
    traced = tf.function(function, autograph=False).get_concrete_function(*arguments)
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return [
        node.name
        for node in nodes
        if node.op in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")
        and any(node.attr[key].type == tf.float32.as_datatype_enum for key in ("T", "Ta", "Tb"))
    ]


def test_a_float32_product_is_found_wherever_it_is():
    def looped(x):
        return tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x @ x), (0, x))

    assert coarse_products(looped, tf.eye(2))
    assert not coarse_products(looped, tf.eye(2, dtype=tf.float64))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_float32_matrix_product_forward_or_backward(name):
    assert not coarse_products(functools.partial(all_of, FUNCTIONS[name]), *case("usual"))


def tensor_float_32(x):
    """Rounds a float32 tensor to the ten bits of mantissa of TensorFloat-32."""
    if x.dtype != tf.float32:
        return x
    bits = tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32) + (1 << 12), -(1 << 13))
    return tf.bitcast(bits, tf.float32)


@pytest.fixture
def emulated(monkeypatch):
    """Every matrix product of float32 tensors loses digits as on a GPU, gradients included."""
    for name in ("mat_mul", "batch_mat_mul", "batch_mat_mul_v2", "batch_mat_mul_v3"):
        exact = getattr(gen_math_ops, name)

        def product(a, b, *rest, exact=exact, **options):
            a, b = map(tf.convert_to_tensor, (a, b))
            return exact(tensor_float_32(a), tensor_float_32(b), *rest, **options)

        monkeypatch.setattr(gen_math_ops, name, product)
    einsum = gen_linalg_ops.einsum
    monkeypatch.setattr(
        gen_linalg_ops,
        "einsum",
        lambda inputs, *rest, **options: einsum(
            [tensor_float_32(tf.convert_to_tensor(x)) for x in inputs], *rest, **options
        ),
    )


def test_the_emulation_loses_digits(emulated):
    a = tf.random.stateless_normal([8, 8], (1, 2), dtype=tf.float64)
    single = tf.cast(a, tf.float32)
    for product in (single @ single, tf.einsum("ij,jk->ik", single, single)):
        assert 1e-5 < reference.scaled_error(product, a @ a) < 1e-2
    assert reference.scaled_error(a @ a, a.numpy() @ a.numpy()) < 64 * np.finfo(np.float64).eps


@functools.cache
def moments_and_gradients(method, stabilised=False):
    """One traced function for all cases of one dtype; trace it where products are emulated."""

    @tf.function(autograph=False)
    def graph(model, y, mask):
        options = {"method": method, "stabilised": stabilised}
        likelihood = functools.partial(lgssm.log_likelihood, **options)
        _, gradients = all_of(likelihood, model, y, mask)
        return lgssm.smooth(model, y, mask, **options), gradients

    def call(*inputs):
        return tf.nest.map_structure(
            lambda x: x.numpy().astype(np.float64),
            graph(*tf.nest.map_structure(tf.constant, inputs)),
        )

    return call


@functools.cache
def exact_case(name):
    """The case in float64: the dense Gaussian's moments, and the gradients of a float64 model.

    Those gradients are checked against finite differences in ``test_lgssm_gradients``.
    """
    model, y, mask = case(name)
    inputs = model.cast(np.float64), y.astype(np.float64), mask.astype(np.float64)
    _, gradients = moments_and_gradients("sequential", True)(lgssm.LGSSM(*inputs[0]), *inputs[1:])
    return reference.dense_posterior(*inputs), gradients


def deviations(result, exact):
    """The largest errors of means in standard deviations, and of covariances in correlations."""
    std = np.sqrt(np.diagonal(exact[1], axis1=-2, axis2=-1))
    means = np.abs(result[0] - exact[0]) / std
    covariances = np.abs(result[1] - exact[1]) / (std[..., :, None] * std[..., None, :])
    return np.max(means), np.max(covariances)


def digits_lost_in_parallel(name):
    """Errors of the parallel method in float64, of the likelihood and of each gradient."""
    model, y, mask = case(name)
    inputs = lgssm.LGSSM(*model.cast(np.float64)), y.astype(np.float64), mask.astype(np.float64)
    result, gradients = moments_and_gradients("parallel")(*inputs)
    exact, exact_gradients = exact_case(name)
    pairs = zip([result[0], *gradients], [exact[0], *exact_gradients], strict=True)
    return np.array([reference.scaled_error(*pair) for pair in pairs])


def amplification(name):
    """By how much the parallel method may enlarge a rounding.

    It solves with I + P J, where J is what T joined steps say of the state they start from, at most
    the sum of ||C_t||^2 / R where A rotates, and P is at most the initial variance; an innovation
    counts in units of its standard deviation.
    """
    r, _, variance = HARD[name]
    model, _, _ = case(name)
    joined = np.sum(np.square(np.linalg.norm(model.emission, 2, axis=(-2, -1))), axis=-1).max() / r
    exact, _ = exact_case(name)
    return (1.0 + variance * joined) * np.max(np.abs(exact[1])) / np.sqrt(r)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(name, method, marks=pytest.mark.slow if method == "parallel" else [])
        for name in HARD
        for method in METHODS
    ],
)
def test_float32_results_are_as_exact_as_their_dtype(emulated, name, method):
    """Inference is exact, and results are rounded to float32 once, at the end."""
    model, y, mask = case(name)
    exact, exact_gradients = exact_case(name)
    result, gradients = moments_and_gradients(method)(lgssm.LGSSM(*model), y, mask)
    for mine, theirs in [(result[1:3], exact[1:3]), (result[4][1:3], exact[4][1:3])]:
        means, covariances = deviations(mine, theirs)
        # A mean is rounded by half an eps of its size, here in units of its standard deviation.
        # The dense reference itself is good to 1e-5 of that where cond(cov y) is 1e10.
        std = np.sqrt(np.min(np.diagonal(theirs[1], axis1=-2, axis2=-1)))
        assert means < EPS * np.max(np.abs(theirs[0])) / std + 1e-5
        assert covariances < 16 * EPS
    found, wanted = [result[0], *gradients], [exact[0], *exact_gradients]
    tolerances = np.full(len(found), 32 * EPS)
    if method == "parallel":
        lost = digits_lost_in_parallel(name)
        assert lost.max() < min(np.finfo(np.float64).eps * amplification(name), 1e-3)
        # The same float64 arithmetic, whose order may differ from one graph to another.
        tolerances += 4 * lost
    for actual, expected, tolerance in zip(found, wanted, tolerances, strict=True):
        assert reference.scaled_error(actual, expected) < tolerance
