"""The soak test fails where it should."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf.errors import UserError

SOAK = Path(__file__).with_name("soak.py")


def refuse():
    raise UserError("frames is wrong")


def summary(monkeypatch, answer, wrong=refuse, memory=lambda: 100.0):
    """Of a short run of two threads, with one valid and one invalid call, and no export."""
    monkeypatch.syspath_prepend(SOAK.parent)
    import soak

    monkeypatch.setattr(soak, "LIMIT", 0.5)
    monkeypatch.setattr(soak, "resident", memory)
    one = soak.Soak({}, seed=0)
    one.calls, one.wrong, one.expected = {"a": answer}, {"b": wrong}, {"a": (np.float64(1.0),)}
    found = one.watch(minutes=0.02, num_threads=2)
    assert json.loads(json.dumps(found)) == found
    return found


def test_a_good_run(monkeypatch):
    found = summary(monkeypatch, lambda: (1.0,))
    assert found["failures"] == []
    assert min(found["answered"], found["refused"]) > 0


def test_answers_as_arrays(monkeypatch):
    """Frames have no standard deviations of entries, which only vectors have."""
    monkeypatch.syspath_prepend(SOAK.parent)
    import soak

    np.testing.assert_array_equal(soak.arrays((tf.constant([1.0]), None)), [[1.0]])
    np.testing.assert_array_equal(soak.arrays({"b": 2.0, "a": 1.0}), [1.0, 2.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": lambda: (1.001,)}, "a: differs by 0.001 from the call alone"),
        ({"answer": lambda: (np.nan,)}, "a: differs by nan"),
        ({"answer": refuse}, "a: UserError: frames is wrong"),
        ({"wrong": lambda: None}, "b: answered, expected an error"),
        ({"answer": lambda: threading.Event().wait(5) and ()}, "made no call for 0.5 s: they hang"),
        ({"memory": iter(range(0, 10**6, 100)).__next__}, "memory grew by"),
    ],
)
def test_failures_are_found(changes, message, monkeypatch):
    found = summary(monkeypatch, **{"answer": lambda: (1.0,)} | changes)
    assert any(message in failure for failure in found["failures"]), found


@pytest.mark.slow
def test_exports_stand_a_short_run():
    result = subprocess.run(
        [sys.executable, str(SOAK), "--minutes=0.2"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert json.loads(result.stdout.splitlines()[-1])["answered"] > 0
