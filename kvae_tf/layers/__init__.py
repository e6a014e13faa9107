"""Keras layers: frame encoders, decoders and likelihoods; the dynamics of a KVAE."""

from kvae_tf.layers.coupled import CoupledPass, coupled_pass
from kvae_tf.layers.dynamics_network import DynamicsParameterNetwork, Parameters
from kvae_tf.layers.frame_likelihood import BernoulliFrames, GaussianFrames, frame_likelihood
from kvae_tf.layers.frame_networks import Encoding, FrameDecoder, FrameEncoder
from kvae_tf.layers.mode_mixture import ModeMixture

__all__ = [
    "BernoulliFrames",
    "CoupledPass",
    "DynamicsParameterNetwork",
    "Encoding",
    "FrameDecoder",
    "FrameEncoder",
    "GaussianFrames",
    "ModeMixture",
    "Parameters",
    "coupled_pass",
    "frame_likelihood",
]
