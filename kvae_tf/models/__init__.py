"""The systems, behind one contract (``base.SequenceModel``)."""

from kvae_tf.models.base import Bound, Frames, Latents, SequenceModel
from kvae_tf.models.cannonball import Cannonball
from kvae_tf.models.dkf import DKF
from kvae_tf.models.dvbf import DVBF
from kvae_tf.models.ed_lstm import EDLSTM
from kvae_tf.models.frame_rnn import FrameRNN
from kvae_tf.models.kvae import KVAE

__all__ = [
    "DKF",
    "DVBF",
    "EDLSTM",
    "KVAE",
    "Bound",
    "Cannonball",
    "FrameRNN",
    "Frames",
    "Latents",
    "SequenceModel",
]
