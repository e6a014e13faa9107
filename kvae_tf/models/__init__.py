"""The models, behind one contract (``contract.VideoModel``)."""

from kvae_tf.models.base import SequenceModel
from kvae_tf.models.cannonball import Cannonball
from kvae_tf.models.contract import QUERIES, Bound, Frames, Latents, Rollout, Scores, VideoModel
from kvae_tf.models.dkf import DKF
from kvae_tf.models.dvbf import DVBF
from kvae_tf.models.ed_lstm import EDLSTM
from kvae_tf.models.frame_rnn import FrameRNN
from kvae_tf.models.kvae import KVAE
from kvae_tf.models.registry import register
from kvae_tf.models.spec import ModelSpec, Setup

__all__ = [
    "DKF",
    "DVBF",
    "EDLSTM",
    "KVAE",
    "QUERIES",
    "Bound",
    "Cannonball",
    "FrameRNN",
    "Frames",
    "Latents",
    "ModelSpec",
    "Rollout",
    "Scores",
    "SequenceModel",
    "Setup",
    "VideoModel",
    "register",
]
