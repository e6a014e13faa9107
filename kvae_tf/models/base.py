"""What every system answers: the contract, and the training step that all share.

A system implements ``elbo`` and the queries it supports. Evaluation, plotting, export and scripts
call nothing else, and ask ``supports`` what they may ask for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kvae_tf import replicas
from kvae_tf.errors import UserError

QUERIES = ("encode", "decode", "filter", "smooth", "impute", "forecast", "generate")


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


class Phase(NamedTuple):
    """A part of a training.

    Attributes:
      bound: what it maximises, a function of a batch and a stateless seed.
      variables: what it moves; all others rest.
      updates: how long it lasts; the last phase lasts to the end.
    """

    bound: Callable[[dict[str, tf.Tensor], tf.Tensor], Bound]
    variables: list
    updates: int = 0


class SequenceModel(keras.Model):
    """Base of all systems: a training step for a bound, and the queries' default refusal.

    Batches are dictionaries: ``frames [B, T, H, W, C]``, and optionally ``observed [B, T]`` (1 =
    seen, all if absent), ``controls [B, T, U]`` and, in evaluation, ``weight [B]`` (0 = padding).

    Attributes:
      noise_seed: int, folded with the optimiser's iteration into the training noise.
      reconstruction_weight: factor of the reconstruction term in training only.
      bound_name: what the sum of the terms is called; systems without a bound say so here.
      elbo_is_log_weight: whether ``elbo`` is the logarithm of an importance weight, p(x, a) over
        q(a | x) at one draw of a. It is none where entropies or KL divergences are in closed form.
      filter_warmup: number of steps at the start whose filtered states also depend on later frames.
      imputation_methods: what ``impute`` can do, the best first.
      max_objects: the most objects in a sequence, of systems that know objects: their queries and
        ``decode`` also take ``num_objects [B]``, by name. Else 0.
      batch_parts: a training step takes a batch in so many parts, one after another, which costs
        less memory and comes to the same.
      loss_scale: gradients are computed so many times larger, so that float16 holds the small ones;
        where the large ones overflow, the update is left out.
      weight_updates: over so many updates that factor rises geometrically to 1; 0: it stays. A low
        weight first lets the dynamics form before the pixels take over.
    """

    bound_name = "elbo"
    elbo_is_log_weight = False
    filter_warmup = 0
    imputation_methods = ("smooth", "filter")
    max_objects = 0

    def __new__(cls, *args, **kwargs):
        """Notes the constructor's arguments, from which ``get_config`` makes the same again."""
        model = super().__new__(cls, *args, **kwargs)
        names = [*inspect.signature(cls.__init__).parameters][1:]
        given = dict(zip(names, args, strict=False)) | kwargs
        # Keras allows no other way before its own constructor has run.
        object.__setattr__(model, "_arguments", given)
        return model

    def __init__(
        self,
        reconstruction_weight=1.0,
        weight_updates=0,
        noise_seed=0,
        batch_parts=1,
        loss_scale=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.batch_parts = batch_parts
        self.loss_scale = loss_scale
        self.weight_updates = weight_updates
        self.reconstruction_weight = reconstruction_weight
        self.noise_seed = noise_seed
        self._means = {
            name: keras.metrics.Mean(name=name)
            for name in ("loss", "elbo", *self.term_names, "gradient_norm")
        }

    def get_config(self):
        return dict(self._arguments)

    # The contract.

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the bound's terms, known before any batch."""
        raise NotImplementedError

    @property
    def encoding_size(self) -> int:
        """Size of what ``decode`` takes."""
        return self.encoder.encoding_size

    @property
    def phases(self) -> list[Phase]:
        """What the training does first, then, at last."""
        return [Phase(self.training_bound, self.trainable_variables)]

    @property
    def dynamics_variables(self) -> list:
        """The variables of what happens between frames, apart from those of single frames."""
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

    def compile(self, *args, **kwargs):
        """As Keras models; the variables are created first, which needs no data."""
        if not self.built:
            self.build()
        super().compile(*args, **kwargs)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing is left to build, and Keras' look at a batch fails with several workers."""

    @property
    def metrics(self):
        """Running means of the terms; Keras resets them at each epoch."""
        return list(self._means.values())

    def loss_of(self, bound: Bound) -> tf.Tensor:
        """The training loss: minus the weighted bound in nats per frame, a scalar."""
        weight = self.reconstruction_weight
        if self.weight_updates:
            weight = tf.pow(weight, 1.0 - self._weight_risen())
        kept = bound.elbo if bound.annealed is None else bound.annealed
        kept += (weight - 1.0) * bound.terms["reconstruction"]
        return -tf.reduce_mean(kept / bound.num_frames)

    def _weight_risen(self):
        """How far the reconstruction's weight has risen: from 0 to 1, a scalar."""
        if not self.weight_updates:
            return tf.ones([])
        return tf.minimum(tf.cast(self.optimizer.iterations, tf.float32) / self.weight_updates, 1.0)

    def train_step(self, data):
        """One update; noise is a function of the seed and the iteration alone."""
        seed = tf.random.experimental.stateless_fold_in(
            tf.constant([self.noise_seed, 0], tf.int64),
            tf.cast(self.optimizer.iterations, tf.int64),
        )
        bound, loss, gradients = self.training_gradients(data, seed)
        variables = self.trainable_variables
        gradients = replicas.mean(gradients)
        norm = tf.linalg.global_norm(gradients)
        if self.loss_scale != 1.0:
            fits = tf.math.is_finite(norm)
            gradients = [tf.where(fits, gradient, 0.0) for gradient in gradients]
            norm = tf.where(fits, norm, 0.0)
        gradients = replicas.share(gradients, norm, self.optimizer.global_clipnorm)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self._report(loss, bound, gradient_norm=norm)

    def training_gradients(self, data, seed):
        """The present phase's bound, the loss made of it, and the loss' gradients.

        Returns:
          A ``Bound``, a scalar, and a tensor for each trainable variable: 0 where it rests.
        """

        def whole(data):
            return self._in_present_phase(lambda phase: self._differentiate(phase, data, seed))

        return whole(data) if self.batch_parts == 1 else self._by_parts(whole, data)

    def _by_parts(self, whole, data):
        """What ``whole`` says of a batch, from its parts."""
        parts, rows = self.batch_parts, data["frames"].shape[0]
        if rows % parts:
            raise UserError(
                f"--batch_parts is {parts}, expected a divisor of the {rows} sequences of a batch"
            )
        split = {
            name: tf.reshape(x, [parts, rows // parts, *x.shape[1:]]) for name, x in data.items()
        }

        def one(index):
            with replicas.part(index, parts):
                bound, loss, gradients = whole({name: x[index] for name, x in split.items()})
            return bound[:3], loss, gradients

        per_row = tf.TensorSpec([rows // parts])
        terms = dict.fromkeys(self.term_names, per_row)
        bound, loss, gradients = tf.map_fn(
            one,
            tf.range(parts),
            parallel_iterations=1,
            fn_output_signature=(
                (per_row, terms, per_row),
                tf.TensorSpec([]),
                [tf.TensorSpec(v.shape) for v in self.trainable_variables],
            ),
        )
        bound = Bound(*tf.nest.map_structure(lambda x: tf.reshape(x, [rows]), bound))
        return bound, tf.reduce_mean(loss), [tf.reduce_mean(g, axis=0) for g in gradients]

    def held_out_loss(self, data) -> tf.Tensor:
        """The loss that training has at present, on sequences it does not see; fixed noise."""
        seed = tf.constant([self.noise_seed, 1], tf.int64)
        return self._in_present_phase(lambda phase: self.loss_of(phase.bound(data, seed)))

    def _in_present_phase(self, function):
        """What ``function`` says of the phase that the training is in."""
        phases = self.phases
        branches = [lambda phase=phase: function(phase) for phase in phases]
        if len(branches) == 1:
            return branches[0]()
        ends = np.cumsum([phase.updates for phase in phases[:-1]])
        done = tf.convert_to_tensor(self.optimizer.iterations)
        return tf.switch_case(tf.reduce_sum(tf.cast(done >= ends, tf.int32)), branches)

    def _differentiate(self, phase, data, seed):
        with tf.GradientTape() as tape:
            bound = phase.bound(data, seed)
            loss = self.loss_of(bound)
            scaled = loss * self.loss_scale
        found = tape.gradient(scaled, phase.variables)
        known = {
            id(v): g / self.loss_scale
            for v, g in zip(phase.variables, found, strict=True)
            if g is not None
        }
        gradients = [known.get(id(v), tf.zeros(v.shape)) for v in self.trainable_variables]
        return bound, loss, gradients

    def test_step(self, data):
        """The bound of a batch of held-out sequences, with fixed noise; padding weighs nothing."""
        bound = self.elbo(data, tf.constant([self.noise_seed, 1], tf.int64))
        return self._report(-bound.elbo / bound.num_frames, bound, weight=data.get("weight"))

    def _report(self, loss, bound, weight=None, gradient_norm=None):
        self._means["loss"].update_state(loss, sample_weight=weight)
        for name, value in {"elbo": bound.elbo, **bound.terms}.items():
            self._means[name].update_state(value / bound.num_frames, sample_weight=weight)
        if gradient_norm is not None:
            self._means["gradient_norm"].update_state(gradient_norm)
        names = [n for n in self._means if gradient_norm is not None or n != "gradient_norm"]
        return replicas.reported({name: self._means[name].result() for name in names})
