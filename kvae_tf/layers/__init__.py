"""Keras layers: frame encoders, decoders and likelihoods; networks and filters of the dynamics."""

from kvae_tf.layers.continuous_mixture import ContinuousMixture
from kvae_tf.layers.dynamics_network import DynamicsParameterNetwork, Parameters
from kvae_tf.layers.frame_likelihood import BernoulliFrames, GaussianFrames, frame_likelihood
from kvae_tf.layers.frame_networks import Encoding, FrameDecoder, FrameEncoder, FrameFeatures
from kvae_tf.layers.joint_filter import (
    FilterState,
    FilterStep,
    JointFilterResult,
    filter_start,
    filter_step,
    joint_filter,
    rollout,
)
from kvae_tf.layers.mode_mixture import ModeMixture
from kvae_tf.layers.recurrent import InitialNetwork
from kvae_tf.layers.vector_entries import StandardisedEntries

__all__ = [
    "ContinuousMixture",
    "BernoulliFrames",
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
    "JointFilterResult",
    "ModeMixture",
    "Parameters",
    "StandardisedEntries",
    "frame_likelihood",
    "joint_filter",
    "rollout",
]
