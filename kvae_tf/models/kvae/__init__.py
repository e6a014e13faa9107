"""The Kalman variational auto-encoder (Fraccaro et al. 2017)."""

from kvae_tf.models.kvae.model import KVAE

__all__ = ["KVAE"]
