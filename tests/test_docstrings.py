"""The examples in docstrings do what they say."""

import doctest
import importlib

import pytest

MODULES = [
    "", ".experiments.presets", ".experiments.load", ".data.datasets", ".data.sequence_data",
    ".data.archives", ".data.in_memory", ".lgssm.inference",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(f"kvae_tf{name}"))
    assert found.attempted > 0
    assert not found.failed
