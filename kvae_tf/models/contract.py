"""What every model answers, live or loaded from an export: the types of the contract.

Evaluation, figures, export and scripts know ``VideoModel`` and nothing else of a model; what it can
do they ask of ``supports``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import tensorflow as tf

from kvae_tf.layers import Encoding

# What a model may be asked, in the order in which a reader meets it.
QUERIES = (
    "encode",
    "decode",
    "filter",
    "smooth",
    "impute",
    "forecast",
    "generate",
    "filter_start",
    "filter_step",
    "locate",
    "components",
)


class Bound(NamedTuple):
    """A variational bound, per sequence, summed over the frames that were seen.

    Attributes:
      elbo: ``[B]`` nats, a lower bound of log p(x | u).
      terms: name -> ``[B]`` nats; they add up to ``elbo``.
      num_frames: ``[B]`` frames that were seen.
      annealed: ``[B]`` nats, what training maximises in place of the weighted terms, or None.
    """

    elbo: tf.Tensor
    terms: dict[str, tf.Tensor]
    num_frames: tf.Tensor
    annealed: tf.Tensor | None = None


class Latents(NamedTuple):
    """Moments of the latents.

    Attributes:
      means: ``[B, T, n]``.
      covariances: ``[B, T, n, n]``.
    """

    means: tf.Tensor
    covariances: tf.Tensor


class Frames(NamedTuple):
    """Frames that a model filled in, forecast or drew, and where they came from.

    Attributes:
      frames: ``[B, T, H, W, C]`` means in [0, 1].
      encodings: ``[B, T, m]``.
      encoding_stds: ``[B, T, m]``; zero for draws.
      latents: ``[B, T, n]``.
      mode_weights: ``[B, T, K]``.
    """

    frames: tf.Tensor
    encodings: tf.Tensor
    encoding_stds: tf.Tensor
    latents: tf.Tensor
    mode_weights: tf.Tensor


class VideoModel(Protocol):
    """A model of videos: live (``SequenceModel``) or loaded from an export (``LoadedModel``).

    Attributes:
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: U, the number of controls; 0 for none.
      max_objects: the most objects in a sequence, of models that know objects; else 0.
      is_vector: whether "frames" are vectors ``(1, D, 1)`` whose entries may be missing.
      encoding_size: m, the size of what ``decode`` takes.
      bound_name: ``"elbo"``, or what a model without a bound has instead.
      elbo_is_log_weight: whether an ``elbo`` from one draw is the logarithm of an importance weight
        p(x, a) / q(a | x).
      variance_floor: the smallest variance of Gaussian pixels; None for other pixels, or where
        nobody knows.
      filter_warmup: number of steps at the start whose filtered states also depend on later frames.
      imputation_methods: what ``impute`` can do, the best first.
      noise_seed: of the evaluation's noise.
      supports: the queries that the model answers, out of ``QUERIES``.
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
    imputation_methods: tuple[str, ...]
    noise_seed: int
    supports: frozenset[str]

    def elbo(self, batch: Mapping[str, tf.Tensor], seed: tf.Tensor) -> Bound:
        """The bound of each sequence of a batch."""

    def encode(self, frames) -> Encoding:
        """q(a | x) of each frame."""

    def decode(self, encodings, num_objects=None) -> tf.Tensor:
        """Frame means of encodings."""

    def filter(self, frames, observed=None, controls=None, num_objects=None) -> Latents:
        """Moments of the latents given the frames up to each step."""

    def smooth(self, frames, observed=None, controls=None, num_objects=None) -> Latents:
        """Moments of the latents given all frames."""

    def impute(self, frames, observed=None, controls=None, method=None, num_objects=None) -> Frames:
        """Frames everywhere, also where they are missing."""

    def forecast(
        self, frames, observed=None, controls=None, num_steps=1, num_objects=None
    ) -> Frames:
        """The frames that follow."""

    def generate(self, num_sequences, num_steps, controls=None, seed=0, num_objects=None) -> Frames:
        """Sequences from the prior."""

    def filter_start(self, batch_size=1):
        """The filter's state before the first frame."""

    def filter_step(self, state, frames, observed=None, controls=None):
        """What one more frame says: the next state and a dictionary of moments."""

    def locate(self, frames, observed=None, num_objects=None) -> Encoding:
        """Positions of the objects, read off the frames."""

    def components(self, frames, observed=None, num_objects=None) -> tf.Tensor:
        """Probabilities of the components of each object's start."""
