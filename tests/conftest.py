"""What several tests share: small models, their exports, and the committed exports, each once."""

import fcntl
import functools
import os
import signal
import sys
from pathlib import Path

import pytest

# The matrices of tests are small; threads of one worker only wait for those of another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Tests call the engine once for each of many small shapes: compiling would take longer.
os.environ.setdefault("KVAE_TF_EAGER_JIT", "0")

# The tests of a machine without TensorFlow Probability; also in the processes that tests start.
if os.environ.get("KVAE_TF_WITHOUT_TFP") == "1":
    HIDING = str(Path(__file__).parent / "without_tfp")
    sys.path.insert(0, HIDING)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [HIDING, *filter(None, [os.environ.get("PYTHONPATH")])]
    )

SAVED_MODELS = Path(__file__).parents[1] / "saved_models"


# A shell that starts the tests in the background lets them, and all that they start, ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Whole commands first: they take longest, and files go to workers in this order."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


def has_tfp():
    """Whether TensorFlow Probability can be imported."""
    try:
        import tensorflow_probability  # noqa: F401
    except ImportError:
        return False
    return True


def pytest_runtest_setup(item):
    """Skips what needs TensorFlow Probability where it is not installed."""
    parameters = getattr(item, "callspec", None)
    engines = parameters.params.values() if parameters else ()
    if item.get_closest_marker("tfp") or "tfp" in map(str, engines):
        pytest.importorskip("tensorflow_probability")


@pytest.fixture(scope="session")
def live():
    """Case of ``training_cases`` -> its model, compiled, which no test may change."""
    from training_cases import build

    return functools.cache(lambda case: build(case)[0])


@pytest.fixture(scope="session")
def exported(live, tmp_path_factory):
    """Case of ``training_cases`` -> the folder of a fresh export of its model."""
    from kvae_tf.export import saved_model

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "exported"
    folder.mkdir(exist_ok=True)

    @functools.cache
    def export(case):
        path = folder / case / "1"
        with open(folder / f"{case}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # workers share the exports
            if not path.exists():
                saved_model.export(live(case), path)
        return path

    return export


@pytest.fixture(scope="session")
def loaded():
    """Folder of an export -> the export behind the contract."""
    from kvae_tf.export.loading import LoadedModel

    return functools.cache(LoadedModel)
