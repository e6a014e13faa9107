"""Deep latent state-space models from pixels: the Kalman VAE and its exact linear-Gaussian engine.

``kvae_tf.lgssm`` infers, ``kvae_tf.layers`` and ``kvae_tf.models`` build on it, ``kvae_tf.data``
feeds them, ``kvae_tf.experiments.run`` goes from settings to results. From Python:

>>> import kvae_tf
>>> test = kvae_tf.data.load("pendulum", seed=0, num_sequences=(40, 10, 10)).test
>>> observed = kvae_tf.data.missing_at_random(10, test.num_steps, rate=0.3, first_seen=3, seed=0)
>>> model = kvae_tf.load("pendulum")
>>> model.impute(test.unit_frames, observed, test.controls).frames.shape
TensorShape([10, 15, 16, 16, 1])

- ``kvae_tf.train(data, preset=None, run_dir=None, **flags)`` trains on a world, a file, arrays.
- ``kvae_tf.load("box")`` loads a trained model by name or path; with ``trainable=True`` a live one.
- ``kvae_tf.create("pendulum", splits.train)`` makes the model of a preset, compiled, for ``fit``.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers, which do not follow __getattr__
    from kvae_tf import data, lgssm, models, planning
    from kvae_tf.experiments import presets
    from kvae_tf.experiments.load import load
    from kvae_tf.experiments.presets import create
    from kvae_tf.experiments.train import train
    from kvae_tf.models import DKF, DVBF, KVAE, Cannonball

__all__ = [
    "DKF",
    "DVBF",
    "KVAE",
    "Cannonball",
    "create",
    "data",
    "lgssm",
    "load",
    "models",
    "planning",
    "presets",
    "train",
]

__version__ = "0.2.0.dev0"

# Imported when first asked for, since TensorFlow takes its time: name -> module, name there.
_PUBLIC = {
    "KVAE": ("models", "KVAE"),
    "DVBF": ("models", "DVBF"),
    "DKF": ("models", "DKF"),
    "Cannonball": ("models", "Cannonball"),
    "load": ("experiments.load", "load"),
    "train": ("experiments.train", "train"),
    "create": ("experiments.presets", "create"),
    "data": ("data", None),
    "lgssm": ("lgssm", None),
    "models": ("models", None),
    "planning": ("planning", None),
    "presets": ("experiments.presets", None),
}


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kvae_tf' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    found = importlib.import_module(f"kvae_tf.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__():
    return sorted([*globals(), *_PUBLIC])
