"""What several tests share: small models, their exports, and the committed exports, each once."""

import functools
import os
from pathlib import Path

import pytest

# The matrices of tests are small; threads of one worker only wait for those of another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SAVED_MODELS = Path(__file__).parents[1] / "saved_models"


def pytest_collection_modifyitems(items):
    """Whole commands first: they take longest, and files go to workers in this order."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session")
def live():
    """Case of ``training_cases`` -> its model, compiled, which no test may change."""
    from training_cases import build

    return functools.cache(lambda case: build(case)[0])


@pytest.fixture(scope="session")
def exported(live, tmp_path_factory):
    """Case of ``training_cases`` -> the folder of a fresh export of its model."""
    from kvae_tf.export import saved_model

    @functools.cache
    def export(case):
        path = tmp_path_factory.mktemp("exported") / case / "1"
        saved_model.export(live(case), path)
        return path

    return export


@pytest.fixture(scope="session")
def loaded():
    """Folder of an export -> the export behind the contract."""
    from kvae_tf.export.loading import LoadedModel

    return functools.cache(LoadedModel)
