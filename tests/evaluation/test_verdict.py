"""Each word of the verdict, on made-up models that are good or bad at one thing."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data import SequenceData
from kvae_tf.evaluation import verdict
from kvae_tf.experiments import settings
from kvae_tf.layers import Encoding
from kvae_tf.models import registry
from kvae_tf.models.contract import Frames

N, T, SIZE = 24, 13, 8


def blobs(count=N):
    """A dot that moves at a constant speed before a background that never changes."""
    rng = np.random.default_rng(0)
    place = rng.uniform(1.0, 6.0, (count, 1, 2)) + rng.normal(0.0, 0.3, (count, 1, 2)) * np.arange(
        T
    ).reshape(1, T, 1)
    y, x = np.mgrid[:SIZE, :SIZE]
    square = (y - place[..., :1, None]) ** 2 + (x - place[..., 1:, None]) ** 2
    frames = 0.5 * np.exp(-square / 2.0).astype(np.float32)
    frames[..., 0] = 0.4
    return SequenceData.from_arrays(frames[..., None])


class Stub:
    """Answers from the hidden frames themselves, with an error for each question."""

    imputation_methods = ("smooth", "filter")
    supports = frozenset({"impute", "decode", "generate", "encode"})
    max_objects = control_size = noise_seed = 0
    frame_shape = (SIZE, SIZE, 1)

    def __init__(self, data, seen=0.02, smooth=0.02, filter=0.05, generate=1.0, noise=1e-3):
        self.frames = tf.constant(data.unit_frames)
        self.errors = {"seen": seen, "smooth": smooth, "filter": filter}
        self.spread, self.noise = generate, noise

    def _off(self, frames, size):
        return frames + size * tf.random.stateless_normal(tf.shape(frames), (1, 2))

    def impute(self, frames, observed=None, controls=None, method=None, num_objects=None):
        seen = observed[..., None, None, None] > 0
        guess = tf.where(
            seen, self._off(frames, self.errors["seen"]), self._off(frames, self.errors[method])
        )
        flat = tf.reshape(guess, [*tf.unstack(tf.shape(frames)[:2]), SIZE * SIZE])
        return Frames(guess, flat, flat, flat, flat[..., :0])

    def decode(self, encodings, num_objects=None):
        return tf.reshape(encodings, [*tf.unstack(tf.shape(encodings)[:-1]), SIZE, SIZE, 1])

    def encode(self, frames):
        flat = tf.reshape(frames, [*tf.unstack(tf.shape(frames)[:2]), SIZE * SIZE])
        return Encoding(flat, self.noise * tf.ones_like(flat))

    def generate(self, num_sequences, num_steps, controls=None, seed=0, num_objects=None):
        assert not tf.executing_eagerly()  # one graph, as the other queries
        frames = self.frames[:num_sequences]
        mean = tf.reduce_mean(frames, axis=[0, 1])
        frames = mean + self.spread * (frames - mean)
        return Frames(frames, None, None, None, None)


BAD = {
    "collapsed": {"noise": 10.0},
    "poor_reconstruction": {"seen": 0.3},
    "no_dynamics": {"smooth": 0.5},
    "no_smoothing": {"smooth": 0.05},
    "poor_generation": {"generate": 0.2},
    "good": {},
}


@pytest.mark.parametrize("name", BAD)
def test_each_word(name):
    data = blobs()
    found = evaluation.judge(Stub(data, **BAD[name]), data)
    assert found["verdict"] == name
    text = evaluation.paragraph(found)
    assert ("To try next: --" in text) == (name != "good")
    answers = evaluation.answers(found)
    assert len(answers) == len(evaluation.VERDICTS) - 1
    assert any(answer.is_bad for answer in answers) == (name != "good")


@pytest.mark.parametrize("model", registry.names())
@pytest.mark.parametrize("name", [name for name in BAD if name != "good"])
def test_advice_names_flags_of_the_model_only(name, model):
    flags = {
        field.name for part in settings.parts(model).values() for field in dataclasses.fields(part)
    }
    found = verdict.advice(name, flags)
    assert set(re.findall(r"--(\w+)", found)) <= flags
    assert found


def test_few_sequences():
    data = blobs(6)
    assert evaluation.judge(Stub(data), data)["verdict"] == "too_few_sequences"


def test_every_word_can_be_the_verdict():
    assert {*BAD, "too_few_sequences"} == set(evaluation.VERDICTS)


def test_numbers():
    data = blobs()
    changing, std = verdict.changing_pixels(data)
    assert not changing[:, 0].any()  # the background
    assert changing[3:5, 3:5].all()
    np.testing.assert_allclose(std, data.unit_frames[..., changing[..., 0], 0].std(), rtol=0.1)
    found = evaluation.ask(Stub(data), data)
    assert found.sequences == N
    np.testing.assert_allclose(found.reconstruction, 0.02 / std, rtol=0.05)
    np.testing.assert_allclose(found.smoothing, 0.02 / std, rtol=0.15)
    np.testing.assert_allclose(found.filtering, 0.05 / std, rtol=0.15)
    x = data.unit_frames[:, :, changing[..., 0], 0]
    last = np.sqrt(np.mean((x[:, 6] - x[:, 3]) ** 2)) / std  # the gap is 4 to 8
    np.testing.assert_allclose(found.last_frame, last, rtol=1e-4)
    np.testing.assert_allclose(found.generation, 1.0, rtol=1e-4)


def test_questions_that_a_model_cannot_answer():
    data = blobs()
    model = Stub(data)
    model.imputation_methods, model.supports = ("filter",), frozenset({"impute", "decode"})
    found = evaluation.judge(model, data)
    assert found["verdict"] == "good"
    assert "verdict/to_filtering" not in found
    assert "verdict/generation" not in found
    assert len(evaluation.answers(found)) == 4
    assert evaluation.answers({"test/elbo": 1.0}) == []


def test_smoothing_need_not_help_where_nothing_is_left_to_gain():
    data = blobs()
    std = verdict.changing_pixels(data)[1]
    for filtering, name in ((0.03, "good"), (0.08, "no_smoothing")):
        error = filtering * std
        found = evaluation.judge(Stub(data, seen=error, smooth=1.1 * error, filter=error), data)
        assert found["verdict"] == name
        assert ("verdict/to_filtering" in found) == (name != "good")


def test_a_still_film():
    still = SequenceData.from_arrays(np.full((12, 5, 4, 4), 0.5, np.float32))
    changing, std = verdict.changing_pixels(still)
    assert changing.all()
    assert std == 0.0
    assert evaluation.word(evaluation.Questions(12, 9.0, *[float("nan")] * 7)) == "good"
