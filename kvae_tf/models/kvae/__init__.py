"""The Kalman variational auto-encoder (Fraccaro et al. 2017)."""

from kvae_tf.models.kvae.linear import LinearKVAE
from kvae_tf.models.kvae.model import KVAE
from kvae_tf.models.kvae.vector_recipe import vector_recipe
from kvae_tf.models.kvae.vectors import VectorKVAE

__all__ = ["KVAE", "LinearKVAE", "VectorKVAE", "vector_recipe"]
