"""The deep Kalman filter (Krishnan et al. 2015), the baseline of DVBF."""

from kvae_tf.models.dkf.model import DKF

__all__ = ["DKF"]
