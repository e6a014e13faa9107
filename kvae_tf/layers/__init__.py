"""Keras layers: frame encoders, decoders and likelihoods; the dynamics of a KVAE."""

from kvae_tf.layers.coupled import CoupledPass, coupled_pass
from kvae_tf.layers.dynamics import DynamicsParameterNetwork, ModeMixture
from kvae_tf.layers.frame_likelihood import BernoulliFrames, GaussianFrames, frame_likelihood
from kvae_tf.layers.frame_networks import Encoding, FrameDecoder, FrameEncoder

__all__ = [
    "BernoulliFrames",
    "CoupledPass",
    "DynamicsParameterNetwork",
    "Encoding",
    "FrameDecoder",
    "FrameEncoder",
    "GaussianFrames",
    "ModeMixture",
    "coupled_pass",
    "frame_likelihood",
]
