"""Exact inference in linear Gaussian state-space models with missing observations.

``LGSSM`` bundles the matrices; ``filter``, ``smooth`` and ``log_likelihood`` infer; ``sample``,
``posterior_sample`` and ``forecast`` draw and predict; a ``Sampler`` gives the noise. This package
uses TensorFlow only, neither Keras nor models of frames; method ``"tfp"`` is TFP's.
"""

from kvae_tf.lgssm.chunks import filter_chunks, smooth_chunks
from kvae_tf.lgssm.eager import compile_eager_calls
from kvae_tf.lgssm.inference import METHODS, filter, log_likelihood, smooth
from kvae_tf.lgssm.model import LGSSM
from kvae_tf.lgssm.noise import Sampler, as_sampler
from kvae_tf.lgssm.prediction import forecast
from kvae_tf.lgssm.results import FilterResult, ForecastResult, SmoothResult
from kvae_tf.lgssm.sampling import joint_log_prob, posterior_log_prob, posterior_sample, sample
from kvae_tf.lgssm.sequential import scan

__all__ = [
    "LGSSM",
    "METHODS",
    "FilterResult",
    "ForecastResult",
    "Sampler",
    "SmoothResult",
    "as_sampler",
    "compile_eager_calls",
    "filter",
    "filter_chunks",
    "forecast",
    "joint_log_prob",
    "log_likelihood",
    "posterior_log_prob",
    "posterior_sample",
    "sample",
    "scan",
    "smooth",
    "smooth_chunks",
]
