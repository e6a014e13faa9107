"""The contract of all models, live or loaded from an export: calls and result types.

Evaluation, figures, export and scripts use a model through ``VideoModel`` only; ``supports`` lists
the queries that it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import tensorflow as tf

from kvae_tf.layers import Encoding

# The queries that a model may answer, in the order in which documentation lists them.
QUERIES = (
    "encode",
    "decode",
    "filter",
    "smooth",
    "impute",
    "forecast",
    "generate",
    "score",
    "filter_start",
    "filter_step",
    "rollout",
    "locate",
    "components",
)


class Bound(NamedTuple):
    """A variational bound of each sequence, summed over the seen frames.

    Attributes:
      elbo: ``[B]`` nats, a lower bound of log p(x | u).
      terms: name -> ``[B]`` nats; the terms add up to ``elbo``.
      num_frames: ``[B]``, number of seen frames, at least 1.
      annealed: ``[B]`` nats, the annealed bound that training maximises in place of ``elbo``; None
        where nothing is annealed.
    """

    elbo: tf.Tensor
    terms: dict[str, tf.Tensor]
    num_frames: tf.Tensor
    annealed: tf.Tensor | None = None


class Latents(NamedTuple):
    """Moments of the latent states.

    Attributes:
      means: ``[B, T, n]``, means of z_t.
      covariances: ``[B, T, n, n]``, covariances of z_t.
    """

    means: tf.Tensor
    covariances: tf.Tensor


class Frames(NamedTuple):
    """Frames that a model filled in, forecast or generated, with the variables behind them.

    Attributes:
      frames: ``[B, T, H, W, C]``, means in [0, 1]; entries of vectors that were seen are as they
        were given.
      encodings: ``[B, T, m]``, the encodings that were decoded; their mean where frames are the
        mean over several.
      encoding_stds: ``[B, T, m]``, standard deviations of the encodings; 0 for generated ones.
      latents: ``[B, T, n]``, latent states.
      mode_weights: ``[B, T, K]``, weights of the modes; K = 0 for models without modes.
      stds: vectors: ``[B, T, 1, D, 1]``, standard deviations of the entries in their own units, 0
        for those that were seen; None for images, and for generated vectors.
    """

    frames: tf.Tensor
    encodings: tf.Tensor
    encoding_stds: tf.Tensor
    latents: tf.Tensor
    mode_weights: tf.Tensor
    stds: tf.Tensor | None = None


class Scores(NamedTuple):
    """How well each frame fits what came before it: log densities, nats; low = surprising.

    All three are 0 where a frame is missing.

    Attributes:
      scores: ``[B, T]``, log p(x_t | a_t) + log p(a_t | a_{1:t-1}), the sum of the other two.
      encoding_scores: ``[B, T]``, log p(a_t | a_{1:t-1}), density of the frame's encoding given
        those of the seen frames before it, and the controls. They add up to log p(a | u).
      reconstruction_scores: ``[B, T]``, log p(x_t | a_t), density of the frame given its encoding.
    """

    scores: tf.Tensor
    encoding_scores: tf.Tensor
    reconstruction_scores: tf.Tensor


class Rollout(NamedTuple):
    """Means of the steps after a frame, under each of N candidate sequences of controls.

    Attributes:
      encodings: ``[B, N, K, m]``, what would be decoded.
      latents: ``[B, N, K, n]``, latent states.
    """

    encodings: tf.Tensor
    latents: tf.Tensor


class VideoModel(Protocol):
    """A model of videos: live (``SequenceModel``) or loaded from an export (``LoadedModel``).

    Attributes:
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: number U of controls; 0: none.
      max_objects: largest number of objects in a sequence; 0: a model without objects.
      is_vector: whether "frames" are vectors ``(1, D, 1)`` whose entries may be missing.
      encoding_size: dimension m of an encoding.
      bound_name: ``"elbo"``, or the name of what a model without a bound has in its place.
      elbo_is_log_weight: whether an ``elbo`` from one draw is the logarithm of an importance weight
        p(x, a) / q(a | x).
      variance_floor: smallest variance of Gaussian pixels; None for other pixels, or where it is
        unknown.
      filter_warmup: number of first steps whose filtered states also depend on later frames.
      averages_frames: whether an imputed frame is the mean over several frames, and not that of its
        mean encoding.
      imputation_methods: names of the methods of ``impute``, the best first.
      reads_times: whether the model is one in continuous time, which takes ``times``.
      time_unit: seconds between two frames where there are no ``times``.
      noise_seed: seed of the noise in evaluation, an int.
      supports: names of the queries that the model answers, out of ``QUERIES``.
    """

    frame_shape: tuple[int, int, int]
    control_size: int
    max_objects: int
    is_vector: bool
    encoding_size: int
    bound_name: str
    elbo_is_log_weight: bool
    variance_floor: float | None
    filter_warmup: int
    averages_frames: bool
    imputation_methods: tuple[str, ...]
    reads_times: bool
    time_unit: float
    noise_seed: int
    supports: frozenset[str]

    def elbo(self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor) -> Bound:
        """The bound of each sequence of a batch."""

    def encode(self, frames) -> Encoding:
        """q(a | x) of each frame."""

    def decode(self, encodings, num_objects=None) -> tf.Tensor:
        """Frame means of encodings."""

    def filter(self, frames, observed=None, controls=None, num_objects=None, times=None) -> Latents:
        """Moments of the latents given the frames up to each step."""

    def smooth(self, frames, observed=None, controls=None, num_objects=None, times=None) -> Latents:
        """Moments of the latents given all frames."""

    def impute(
        self,
        frames,
        observed=None,
        controls=None,
        method=None,
        num_objects=None,
        times=None,
        at=None,
    ) -> Frames:
        """Frames everywhere, also where they are missing."""

    def forecast(
        self, frames, observed=None, controls=None, num_steps=1, num_objects=None, times=None
    ) -> Frames:
        """The frames that follow."""

    def generate(
        self, num_sequences, num_steps, controls=None, seed=0, num_objects=None, times=None
    ) -> Frames:
        """Sequences from the prior."""

    def score(self, frames, observed=None, controls=None, num_objects=None, times=None) -> Scores:
        """Log densities of the frames, each given those before it."""

    def filter_start(self, batch_size=1):
        """The filter's state before the first frame."""

    def filter_step(self, state, frames, observed=None, controls=None, interval=None):
        """Filters one more frame of each sequence: the next state and a dictionary of moments."""

    def rollout(self, state, frames, controls, observed=None) -> Rollout:
        """The steps after the latest frame, under each of several candidate controls."""

    def locate(self, frames, observed=None, num_objects=None) -> Encoding:
        """Positions of the objects, inferred from the frames."""

    def components(self, frames, observed=None, num_objects=None) -> tf.Tensor:
        """Probabilities of the mixture components of each object's initial state."""
