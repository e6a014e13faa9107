"""Deep latent state-space models from pixels: the Kalman VAE and its exact linear-Gaussian engine.

``kvae_tf.lgssm`` infers, ``kvae_tf.layers`` and ``kvae_tf.models`` build on it, ``kvae_tf.data``
feeds them, ``kvae_tf.experiment`` runs from settings to results.
"""

__version__ = "0.1.0"
