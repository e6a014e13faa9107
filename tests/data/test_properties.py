"""Any array at the two doors: it is taken with its meaning kept, or refused with one line."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kvae_tf.data import SequenceData
from kvae_tf.errors import UserError
from kvae_tf.models import inputs

pytestmark = pytest.mark.filterwarnings("ignore:controls are not given", "ignore:.*images is uint8")
quick = settings(max_examples=40, derandomize=True, deadline=None)
many = settings(quick, max_examples=200)

H, W, U = 3, 2, 2
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 4))
MODEL = SimpleNamespace(frame_shape=(H, W, 1), is_vector=False, control_size=U, max_objects=0)
VECTORS = SimpleNamespace(frame_shape=(1, W, 1), is_vector=True, control_size=U, max_objects=0)
ANY = arrays.arrays(
    st.one_of(
        arrays.boolean_dtypes(),
        arrays.integer_dtypes(),
        arrays.floating_dtypes(),
        arrays.complex_number_dtypes(),
        arrays.unicode_string_dtypes(max_len=2),
        arrays.datetime64_dtypes(),
    ),
    st.one_of(
        arrays.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3),
        st.sampled_from([(2,), (2, 3), (2, 3, U), (2, 3, H, W), (2, 3, H, W, 1)]),
    ),
)


@st.composite
def pictures(draw, channels=True):
    """Images of any allowed kind, the same as floats with NaN where missing, and what is seen."""
    shape = draw(SIZES) + (H, W) + ((1,) if channels and draw(st.booleans()) else ())
    dtype = draw(st.sampled_from([np.uint8, np.bool_, np.float16, np.float32, np.float64]))
    levels = draw(arrays.arrays(np.uint8, shape))
    missing = draw(arrays.arrays(np.bool_, shape[:2]))
    missing[0, 0] = False
    if dtype == np.uint8:
        images, truth = levels, levels / np.float32(255)
    else:
        images = (levels > 127) if dtype == np.bool_ else (levels / 255).astype(dtype)
        truth = images.astype(np.float32)
    everywhere = np.broadcast_to(missing.reshape(*shape[:2], *[1] * (len(shape) - 2)), shape)
    if missing.any():
        if images.dtype.kind == "f" and draw(st.booleans()):
            images = np.where(everywhere, np.nan, images).astype(dtype)
        else:
            images = np.ma.masked_array(images, everywhere)
    truth = np.where(everywhere, 0, truth).reshape(*shape[:2], H, W, 1)
    return images, truth, (~missing).astype(np.float32)


def taken(name, call):
    """What a call gives; None where it refuses with one line that names the argument."""
    try:
        return call()
    except UserError as error:
        message = str(error)
    assert name in message
    assert "expected" in message
    assert "\n" not in message
    return None


@quick
@given(pictures(), st.data())
def test_data_keep_their_meaning(case, data):
    images, truth, seen = case
    before = np.ma.filled(images, 0).copy()
    observed = data.draw(st.none() | arrays.arrays(np.bool_, seen.shape))
    if observed is not None:
        observed[0, 0] = True
    found = SequenceData.from_arrays(images, observed=observed)
    assert found.frames.dtype in (np.uint8, np.float32)
    assert found.observed.dtype == found.controls.dtype == np.float32
    np.testing.assert_array_equal(found.observed, seen * (1 if observed is None else observed))
    # One rounding each of the conversion and of the division.
    np.testing.assert_allclose(found.unit_frames, truth, rtol=2 * np.finfo(np.float32).eps)
    np.testing.assert_array_equal(np.ma.filled(images, 0), before)


@many
@given(ANY, st.sampled_from(["images", "observed", "controls", "states", "num_objects"]))
def test_any_data_are_taken_or_refused_with_one_line(array, name):
    arguments = {"images": np.zeros((2, 3, H, W), np.uint8), name: array}
    found = taken(name, lambda: SequenceData.from_arrays(**arguments))
    if found:
        assert found.observed.shape == found.frames.shape[:2]
        assert np.isfinite(found.unit_frames).all()
        assert found.unit_frames.min() >= 0
        assert found.unit_frames.max() <= 1
        assert found.controls.shape[:2] == found.frames.shape[:2]
        assert np.isfinite(found.controls).all()


@quick
@given(pictures(), st.data())
def test_queries_keep_the_meaning_of_their_inputs(case, data):
    images, truth, seen = case
    observed = data.draw(st.none() | arrays.arrays(np.bool_, seen.shape))
    mask = seen if observed is None else seen * observed
    found = inputs.check(MODEL, images, observed, np.ones((*seen.shape, U), np.int32))
    assert found.frames.dtype == found.seen.dtype == found.controls.dtype == np.float32
    np.testing.assert_array_equal(found.seen, mask)
    np.testing.assert_allclose(
        found.frames, truth * mask[..., None, None, None], rtol=2 * np.finfo(np.float32).eps
    )
    np.testing.assert_array_equal(found.controls, 1.0)
    everything = np.ones(len(images), bool)
    step = inputs.check_step(MODEL, images[:, 0], everything, np.ones((len(images), U)))
    np.testing.assert_array_equal(step.observed, seen[:, 0])
    np.testing.assert_allclose(step.frames, truth[:, 0], rtol=2 * np.finfo(np.float32).eps)


@many
@given(ANY, st.sampled_from(["frames", "observed", "controls"]), st.sampled_from([MODEL, VECTORS]))
def test_any_input_of_a_query_is_taken_or_refused_with_one_line(array, name, model):
    shape = (2, 3)
    arguments = {
        "frames": np.zeros((*shape, *model.frame_shape), np.float32),
        "observed": None,
        "controls": None,
        name: array,
    }
    found = taken(name, lambda: inputs.check(model, **arguments))
    if found:
        assert found.frames.shape[2:] == model.frame_shape
        assert found.seen.shape == found.frames.shape[:2]
        assert found.controls.shape == (*found.frames.shape[:2], U)
        assert np.isfinite(found.controls).all()
        if not model.is_vector:
            assert np.isfinite(found.frames).all()
