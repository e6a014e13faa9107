"""What is loaded as an export, and calls of one export from several threads."""

import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from conftest import SAVED_MODELS

from kvae_tf.errors import UserError
from kvae_tf.export import saved_model
from kvae_tf.export.loading import LoadedModel
from kvae_tf.models import FrameRNN

PENDULUM = SAVED_MODELS / "pendulum" / "1"
LIMIT = 60  # seconds, after which a call hangs
FRAMES = np.random.default_rng(0).random((3, 2, 4, 16, 16, 1), np.float32)
CONTROLS = np.random.default_rng(1).normal(size=(3, 2, 4, 1)).astype(np.float32)


def refusal(path):
    with pytest.raises(UserError) as caught:
        LoadedModel(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.parent) in message
    return message


def foreign(path, **signatures):
    """A SavedModel with signatures of the given inputs, each a shape by name."""
    module = tf.Module()
    functions = {
        name: tf.function(
            lambda **given: {"frames": tf.add_n([tf.reduce_sum(x) for x in given.values()])}
        ).get_concrete_function(**{n: tf.TensorSpec(shape, name=n) for n, shape in inputs.items()})
        for name, inputs in signatures.items()
    }
    tf.saved_model.save(module, str(path), signatures=functions)


SEQUENCE = {"frames": [None, None, 8, 8, 1], "observed": [None, None], "controls": None}
OURS = {
    "decode": {"encodings": [None, None, 2]},
    "impute": SEQUENCE,
    "forecast": SEQUENCE | {"num_steps": []},
}


@pytest.mark.parametrize(
    ("signatures", "message"),
    [
        ({}, "has signatures [], expected those of an export of kvae_tf"),
        ({"serving_default": {"x": [None]}}, "has signatures ['serving_default'], expected"),
        (OURS | {"impute": {"x": [None]}}, "has a signature impute of ['x'], expected ['controls'"),
        (OURS | {"filter": {"frames": [None]}}, "has a signature filter of ['frames'], expected"),
        (OURS | {"impute": SEQUENCE | {"frames": [None, 8]}}, "takes frames of shape (None, 8)"),
        (OURS, "has no bound or no variables, expected an export of kvae_tf"),
    ],
)
def test_foreign_saved_models_are_refused(signatures, message, tmp_path):
    foreign(tmp_path / "1", **signatures)
    assert message in refusal(tmp_path / "1")


@pytest.mark.parametrize("content", [b"", b"not a protocol buffer", b"\x00" * 64, b"\x0a\xff\xff"])
def test_damaged_saved_models_are_refused(content, tmp_path):
    assert "holds no saved_model.pb" in refusal(tmp_path / "1")
    (tmp_path / "1").mkdir()
    assert "holds no saved_model.pb" in refusal(tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(content)
    assert "cannot be loaded, expected an export of kvae_tf" in refusal(tmp_path / "1")


def test_damaged_variables_are_refused(tmp_path):
    shutil.copytree(PENDULUM, tmp_path / "1")
    for file in (tmp_path / "1" / "variables").glob("*.data*"):
        file.write_bytes(file.read_bytes()[:1000])
    assert "cannot be loaded, expected an export of kvae_tf" in refusal(tmp_path / "1")


@pytest.mark.parametrize("content", ["[1, 2]", "null", '"kvae"', "{", "3"])
def test_settings_of_another_form_are_refused(content, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "settings.json").write_text(content)
    assert "settings.json" in refusal(tmp_path / "1")


def test_a_bound_that_is_named_as_a_query_is_no_query(tmp_path):
    """Exports of earlier versions: the bound of a plain auto-encoder was called score."""

    class Earlier(FrameRNN):
        bound_name = "score"
        supports = property(lambda self: super().supports - {"score"})

    model = Earlier((6, 6, 1), units=(8,), dynamics_units=4, variational=False)
    model.build()
    saved_model.export(model, tmp_path / "1")
    export = LoadedModel(tmp_path / "1")
    assert export.bound_name == "score"
    assert "seed" in export.signatures["score"][0]
    assert export.supports == {"encode", "decode", "impute", "forecast", "generate"}
    frames = np.random.default_rng(0).random((2, 4, 6, 6, 1), np.float32)
    one, other = (x.elbo({"frames": frames}, 0) for x in (export, model))
    np.testing.assert_allclose(one.elbo, other.elbo, rtol=1e-5)
    assert one.terms.keys() == other.terms.keys()
    with pytest.raises(UserError, match="LoadedModel does not score"):
        export.score(frames)


def together(*calls):
    """Runs calls in threads at the same time; fails where one hangs."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert not any(thread.is_alive() for thread in threads), "a call hangs"


def bad_calls(model):
    """Calls that have to raise a ``UserError``."""
    frames, state, controls = FRAMES[0], model.filter_start(2), CONTROLS[0]

    def step(state):
        return model.filter_step(state, frames[:, 0], controls=controls[:, 0])

    return [
        lambda: model.impute(frames[0]),
        lambda: model.impute(255 * frames, controls=controls),
        lambda: model.impute(frames, controls=controls[:, :-1]),
        lambda: model.impute(frames, np.full((2, 4), 255), controls),
        lambda: model.forecast(frames, num_steps=0),
        lambda: model.forecast(frames, num_steps=2**31),
        lambda: step({}),
        lambda: step(state | {"state_mean": np.zeros((2, 9))}),
        lambda: step(state | {"more": np.zeros(2)}),
        lambda: step(state | {"state_mean": None}),
        lambda: step(model.filter_start(3)),
    ]


def test_a_bad_call_is_refused_in_one_line(loaded):
    for call in bad_calls(loaded(PENDULUM)):
        with pytest.raises(UserError) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)


def answers(model, i):
    """What a model says of sequences ``i``, by three queries."""
    state, steps = model.filter_start(2), []
    for t in range(4):
        state, step = model.filter_step(state, FRAMES[i][:, t], controls=CONTROLS[i][:, t])
        steps.append(step["frames"])
    return (
        model.impute(FRAMES[i], controls=CONTROLS[i]).frames.numpy(),
        model.forecast(FRAMES[i], controls=CONTROLS[i], num_steps=np.int64(2)).frames.numpy(),
        np.stack(steps),
    )


def test_eight_threads_share_an_export(loaded):
    """Valid and invalid calls at once: each gets what it would get alone."""
    model = loaded(PENDULUM)
    expected = [answers(model, i) for i in range(len(FRAMES))]
    bad, found, refused = bad_calls(model), {}, []

    def work(thread):
        for i in range(len(FRAMES)):
            with pytest.raises(UserError):
                bad[(thread + i) % len(bad)]()
            refused.append(thread)
            found[thread, i] = answers(model, i)

    together(*(lambda thread=thread: work(thread) for thread in range(8)))
    assert len(found) == len(refused) == 8 * len(FRAMES)
    for (_, i), values in found.items():
        for one, other in zip(values, expected[i], strict=True):
            # The same graph: sums may be split among threads in another way.
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_a_bad_call_of_a_signature_blocks_no_other_thread(loaded):
    """``module.impute`` would keep its lock; the signatures that cards show have none."""
    impute = loaded(PENDULUM).module.signatures["impute"]
    frames, one, zero = tf.constant(FRAMES[0]), tf.constant(1.0), tf.constant(0.0)
    done = []

    def wrong():
        for given in ({"frames": frames[0]}, {"frames": frames}, {"frames": frames, "x": one}):
            with pytest.raises((TypeError, ValueError)):
                impute(**given)
        done.append("wrong")

    def right():
        impute(frames=frames, observed=one, controls=zero)
        done.append("right")

    together(wrong)
    together(right)
    assert done == ["wrong", "right"]
