"""Keras layers: frame encoders, decoders and likelihoods; what happens between frames."""

from kvae_tf.layers.dynamics_network import DynamicsParameterNetwork, Parameters
from kvae_tf.layers.frame_likelihood import BernoulliFrames, GaussianFrames, frame_likelihood
from kvae_tf.layers.frame_networks import Encoding, FrameDecoder, FrameEncoder, FrameFeatures
from kvae_tf.layers.joint_filter import (
    CoupledPass,
    FilterState,
    FilterStep,
    coupled_pass,
    filter_start,
    filter_step,
)
from kvae_tf.layers.mode_mixture import ModeMixture
from kvae_tf.layers.recurrent import InitialNetwork

__all__ = [
    "BernoulliFrames",
    "CoupledPass",
    "FilterState",
    "FilterStep",
    "filter_start",
    "filter_step",
    "DynamicsParameterNetwork",
    "Encoding",
    "FrameDecoder",
    "FrameEncoder",
    "FrameFeatures",
    "GaussianFrames",
    "InitialNetwork",
    "ModeMixture",
    "Parameters",
    "coupled_pass",
    "frame_likelihood",
]
