"""The examples in docstrings do what they say."""

import doctest
import importlib

import pytest

MODULES = ["", ".experiments.presets", ".data.datasets", ".data.sequence_data", ".lgssm.inference"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(f"kvae_tf{name}"))
    assert found.attempted > 0
    assert not found.failed
