"""Deep latent state-space models from pixels: the Kalman VAE and its exact linear-Gaussian engine.

``kvae_tf.lgssm`` infers, ``kvae_tf.layers`` and ``kvae_tf.models`` build on it, ``kvae_tf.data``
feeds them, ``kvae_tf.experiment`` runs from settings to results. From Python::

    import kvae_tf

    splits = kvae_tf.data.load("box", seed=0)
    model = kvae_tf.create("box", splits.train)  # or kvae_tf.KVAE(...), model.compile("adam")
    model.fit(kvae_tf.data.training_batches(splits.train, 32, seed=0), steps_per_epoch=500)
    filled = kvae_tf.load("saved_models/box/1").impute(frames, observed)
"""

import importlib

__version__ = "0.1.0"

# Imported when first asked for, since TensorFlow takes its time: name -> module, name there.
_PUBLIC = {
    "KVAE": ("models", "KVAE"),
    "DVBF": ("models", "DVBF"),
    "DKF": ("models", "DKF"),
    "Cannonball": ("models", "Cannonball"),
    "load": ("loaded", "LoadedModel"),
    "create": ("presets", "create"),
    "data": ("data", None),
    "lgssm": ("lgssm", None),
    "models": ("models", None),
    "presets": ("presets", None),
}


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kvae_tf' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    found = importlib.import_module(f"kvae_tf.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__():
    return sorted([*globals(), *_PUBLIC])
