"""What every system answers: the contract, and the training step that all share.

A system implements ``elbo`` and the queries it supports. Evaluation, plotting, export and scripts
call nothing else, and ask ``supports`` what they may ask for.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from kvae_tf.errors import UserError

QUERIES = ("encode", "decode", "filter", "smooth", "impute", "forecast", "generate")


class Bound(NamedTuple):
    """A variational bound, per sequence, summed over the frames that were seen.

    Attributes:
      elbo: ``[B]`` nats, a lower bound of log p(x | u).
      terms: name -> ``[B]`` nats; they add up to ``elbo``.
      num_frames: ``[B]`` frames that were seen.
    """

    elbo: tf.Tensor
    terms: dict[str, tf.Tensor]
    num_frames: tf.Tensor


class Latents(NamedTuple):
    """Moments of the latents: ``means [B, T, n]``, ``covariances [B, T, n, n]``."""

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


class SequenceModel(keras.Model):
    """Base of all systems: a training step for a bound, and the queries' default refusal.

    Batches are dictionaries: ``frames [B, T, H, W, C]``, and optionally ``observed [B, T]`` (1 =
    seen, all if absent), ``controls [B, T, U]`` and, in evaluation, ``weight [B]`` (0 = padding).

    Attributes:
      noise_seed: int, folded with the optimiser's iteration into the training noise.
      reconstruction_weight: factor of the reconstruction term in training only.
      bound_name: what the sum of the terms is called; systems without a bound say so here.
      imputation_methods: what ``impute`` can do, the best first.
      weight_updates: over so many updates that factor rises geometrically to 1; 0: it stays. A low
        weight first lets the dynamics form before the pixels take over.
      frozen_updates: for so many updates the variables of ``late_variables`` stay as they are.
    """

    bound_name = "elbo"
    imputation_methods = ("smooth", "filter")

    def __init__(
        self,
        reconstruction_weight=1.0,
        weight_updates=0,
        frozen_updates=0,
        noise_seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.weight_updates = weight_updates
        self.reconstruction_weight = reconstruction_weight
        self.frozen_updates = frozen_updates
        self.noise_seed = noise_seed
        self._means = {
            name: keras.metrics.Mean(name=name)
            for name in ("loss", "elbo", *self.term_names, "gradient_norm")
        }

    # The contract.

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the bound's terms, known before any batch."""
        raise NotImplementedError

    @property
    def late_variables(self) -> list:
        """Variables that ``frozen_updates`` holds back."""
        return []

    @property
    def supports(self) -> frozenset[str]:
        """The queries that this system answers, out of ``QUERIES``."""
        return frozenset(
            name
            for name in QUERIES
            if getattr(type(self), name, None) is not getattr(SequenceModel, name)
        )

    def elbo(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> Bound:
        """The bound of each sequence of a batch; ``seed`` is a stateless pair."""
        raise NotImplementedError

    def training_bound(self, batch: dict[str, tf.Tensor], seed: tf.Tensor) -> Bound:
        """What a training step maximises: the bound, or an unbiased estimate that costs less."""
        return self.elbo(batch, seed)

    def encode(self, frames):
        """q(a | x) of each frame."""
        self._refuse("encode")

    def decode(self, encodings):
        """Frame means of encodings."""
        self._refuse("decode")

    def filter(self, frames, observed=None, controls=None):
        """Moments of z_t given the frames up to t."""
        self._refuse("filter")

    def smooth(self, frames, observed=None, controls=None):
        """Moments of z_t given all frames."""
        self._refuse("smooth")

    def impute(self, frames, observed=None, controls=None, method="smooth"):
        """Frames everywhere, also where they are missing."""
        self._refuse("impute")

    def forecast(self, frames, observed=None, controls=None, num_steps=1):
        """The frames that follow."""
        self._refuse("forecast")

    def generate(self, num_sequences, num_steps, controls=None, seed=0):
        """Sequences from the prior."""
        self._refuse("generate")

    def _refuse(self, query):
        raise UserError(f"{type(self).__name__} does not {query}; it can {sorted(self.supports)}")

    # Training.

    @property
    def metrics(self):
        """Running means of the terms; Keras resets them at each epoch."""
        return list(self._means.values())

    def loss_of(self, bound: Bound) -> tf.Tensor:
        """The training loss: minus the weighted bound in nats per frame, a scalar."""
        weight = self.reconstruction_weight
        if self.weight_updates:
            done = tf.cast(self.optimizer.iterations, tf.float32) / self.weight_updates
            weight = tf.pow(weight, 1.0 - tf.minimum(done, 1.0))
        kept = bound.elbo + (weight - 1.0) * bound.terms["reconstruction"]
        return -tf.reduce_mean(kept / bound.num_frames)

    def train_step(self, data):
        """One update; noise is a function of the seed and the iteration alone."""
        seed = tf.random.experimental.stateless_fold_in(
            tf.constant([self.noise_seed, 0], tf.int64),
            tf.cast(self.optimizer.iterations, tf.int64),
        )
        bound, loss, gradients = self.training_gradients(data, seed)
        variables = self.trainable_variables
        norm = tf.linalg.global_norm(gradients)
        gradients = self._hold_back(variables, gradients)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self._report(loss, bound, gradient_norm=norm)

    def training_gradients(self, data, seed):
        """What a training step maximises, the loss made of it, and the loss' gradients.

        Returns:
          A ``Bound``, a scalar and a tensor for each trainable variable.
        """
        return self.differentiate(self.training_bound, data, seed)

    def differentiate(self, bound_function, data, seed):
        """``training_gradients`` of ``bound_function(data, seed)``; zero where nothing depends."""
        with tf.GradientTape() as tape:
            bound = bound_function(data, seed)
            loss = self.loss_of(bound)
        variables = self.trainable_variables
        gradients = [
            tf.zeros_like(variable) if gradient is None else gradient
            for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True)
        ]
        return bound, loss, gradients

    def test_step(self, data):
        """The bound of a batch of held-out sequences, with fixed noise; padding weighs nothing."""
        bound = self.elbo(data, tf.constant([self.noise_seed, 1], tf.int64))
        return self._report(-bound.elbo / bound.num_frames, bound, weight=data.get("weight"))

    def _hold_back(self, variables, gradients):
        late = {id(variable) for variable in self.late_variables}
        if not (late and self.frozen_updates):
            return gradients
        released = tf.cast(self.optimizer.iterations >= self.frozen_updates, tf.float32)
        return [
            gradient * released if id(variable) in late else gradient
            for variable, gradient in zip(variables, gradients, strict=True)
        ]

    def _report(self, loss, bound, weight=None, gradient_norm=None):
        self._means["loss"].update_state(loss, sample_weight=weight)
        for name, value in {"elbo": bound.elbo, **bound.terms}.items():
            self._means[name].update_state(value / bound.num_frames, sample_weight=weight)
        if gradient_norm is not None:
            self._means["gradient_norm"].update_state(gradient_norm)
        names = [n for n in self._means if gradient_norm is not None or n != "gradient_norm"]
        return {name: self._means[name].result() for name in names}
