"""The deep variational Bayes filter (Karl et al. 2017)."""

from kvae_tf.models.dvbf.model import DVBF

__all__ = ["DVBF"]
