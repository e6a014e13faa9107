"""The importance-weighted bound, and which models' bounds are logarithms of importance weights."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.models import DKF, DVBF, KVAE, Cannonball, FrameRNN

ROOT = Path(__file__).parents[2]
SHAPE = (6, 6, 1)
DRAWS = 20000
FRAMES = (np.random.default_rng(0).random((1, 2, *SHAPE)) > 0.7).astype(np.float32)


def kvae(objective, scale=1.0):
    """Prior and q of an encoding have about the same spread, so that weights vary little."""
    return KVAE(SHAPE, units=(4,), encoding_size=1, latent_size=2, num_modes=2, dynamics_units=3,
                objective=objective, max_encoding_variance=1.5 * scale, emission_noise=0.5,
                initial_variance=1.0)  # fmt: skip


def vae_rnn(scale=1.0, variational=True):
    model = FrameRNN(
        SHAPE,
        variational=variational,
        units=(4,),
        encoding_size=1,
        dynamics_units=3,
        max_encoding_variance=4.0 * scale,
    )
    model.build()
    model.log_std.assign([0.0])
    return model


def cannonball(posterior, scale=1.0):
    model = Cannonball(SHAPE, max_objects=1, state_size=5, posterior=posterior)
    model.build()
    model.attention.moments_bias.assign([0.0, 0.0, 3.0 * scale, 3.0 * scale])
    return model


LOG_WEIGHTS = {
    "kvae": lambda scale=1.0: kvae("collapsed", scale),
    "kvae_sampled": lambda scale=1.0: kvae("sampled", scale),
    "vae_rnn": vae_rnn,
    "cannonball_smoothed": lambda scale=1.0: cannonball("smoothed", scale),
}
OTHERS = {
    "ae_rnn": lambda: vae_rnn(variational=False),
    "cannonball_attention": lambda: cannonball("attention"),
    "dvbf": lambda: DVBF(SHAPE, units=(4,), dynamics_units=3),
    "dkf": lambda: DKF(SHAPE, units=(4,), dynamics_units=3, transition_units=3),
}


def log_mean_weight(model):
    """log mean exp(elbo) over draws for one sequence, and its standard error, nats."""
    keras.utils.set_random_seed(0)
    if not model.built:
        model.build()
    batch = {"frames": tf.repeat(FRAMES, DRAWS, axis=0)}
    if model.max_objects:
        batch["num_objects"] = tf.ones([DRAWS], tf.int32)
    logs = model.elbo(batch, tf.constant([0, 1], tf.int64)).elbo.numpy().astype(float)
    weights = np.exp(logs - logs.max())
    error = weights.std() / weights.mean() / np.sqrt(DRAWS)
    return logs.max() + np.log(weights.mean()), error


@pytest.mark.parametrize("name", LOG_WEIGHTS)
def test_a_log_weight_gives_the_evidence_whatever_q_is(name):
    (one, one_error), (two, two_error) = (
        log_mean_weight(keras_seeded(LOG_WEIGHTS[name], scale)) for scale in (1.0, 2.0)
    )
    assert LOG_WEIGHTS[name]().elbo_is_log_weight
    error = np.hypot(one_error, two_error)
    assert error < 0.03
    assert abs(one - two) < 4 * error


def test_a_closed_form_entropy_is_no_part_of_a_log_weight():
    (one, one_error), (two, two_error) = (
        log_mean_weight(keras_seeded(lambda s: cannonball("attention", s), scale / 3.0))
        for scale in (1.0, 2.0)
    )
    assert abs(one - two) > 10 * np.hypot(one_error, two_error)


def keras_seeded(build, scale):
    """Models of one seed differ in the spread of q alone."""
    keras.utils.set_random_seed(0)
    return build(scale)


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_have_no_importance_bound(name):
    model = OTHERS[name]()
    data = SequenceData.from_arrays(FRAMES)
    with pytest.raises(UserError, match="elbo_is_log_weight False"):
        evaluation.importance_bound(model, data)


@pytest.mark.parametrize(
    ("name", "is_log_weight", "filter_warmup"),
    [
        ("box", True, 0),
        pytest.param("cannonball", True, 0, marks=pytest.mark.slow),
        ("dvbf_pendulum", False, 4),
        ("dkf_pendulum", False, 0),
    ],
)
def test_older_exports_have_it_in_their_settings(loaded, name, is_log_weight, filter_warmup):
    export = loaded(ROOT / "saved_models" / name / "1")
    assert export.elbo_is_log_weight == is_log_weight
    assert export.filter_warmup == filter_warmup
