"""Several objects that move by Newton's laws (Chiappa and Paquet 2018)."""

from kvae_tf.models.cannonball.model import Cannonball

__all__ = ["Cannonball"]
