"""Deep latent state-space models from pixels: the Kalman VAE and its exact linear-Gaussian engine.

``kvae_tf.lgssm`` infers, ``kvae_tf.layers`` and ``kvae_tf.models`` build on it, ``kvae_tf.data``
feeds them, ``kvae_tf.experiments.run`` goes from settings to results. From Python, here with far
too little training:

>>> import kvae_tf
>>> splits = kvae_tf.data.load("pendulum", seed=0, num_sequences=(40, 10, 10))
>>> model = kvae_tf.KVAE(splits.train.frame_shape, control_size=1, likelihood="gaussian")
>>> model.compile("adam")
>>> batches = kvae_tf.data.training_batches(splits.train, batch_size=20, seed=0)
>>> history = model.fit(batches, steps_per_epoch=2, verbose=0, shuffle=False)
>>> test = splits.test
>>> observed = kvae_tf.data.missing_at_random(10, test.num_steps, rate=0.3, first_seen=3, seed=0)
>>> model.impute(test.unit_frames, observed, test.controls).frames.shape
TensorShape([10, 15, 16, 16, 1])

``kvae_tf.create("pendulum", splits.train)`` makes the model of a preset, compiled;
``kvae_tf.load("saved_models/pendulum/1")`` answers the same calls from an export.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers, which do not follow __getattr__
    from kvae_tf import data, lgssm, models
    from kvae_tf.experiments import presets
    from kvae_tf.experiments.presets import create
    from kvae_tf.export.loading import LoadedModel as load  # noqa: N813
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
    "presets",
]

__version__ = "0.1.0"

# Imported when first asked for, since TensorFlow takes its time: name -> module, name there.
_PUBLIC = {
    "KVAE": ("models", "KVAE"),
    "DVBF": ("models", "DVBF"),
    "DKF": ("models", "DKF"),
    "Cannonball": ("models", "Cannonball"),
    "load": ("export.loading", "LoadedModel"),
    "create": ("experiments.presets", "create"),
    "data": ("data", None),
    "lgssm": ("lgssm", None),
    "models": ("models", None),
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
