"""The training step that all models share: phases, parts of a batch, noise, reported means."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kvae_tf.errors import UserError
from kvae_tf.lgssm import Sampler, as_sampler
from kvae_tf.models import replicas
from kvae_tf.models.contract import Bound


class Phase(NamedTuple):
    """A part of a training.

    Attributes:
      bound: bound that the phase maximises, a function of a batch and a seed, as ``elbo``.
      variables: variables that the phase updates; all other variables are frozen.
      updates: number of updates of the phase; the last phase lasts to the end whatever it says.
    """

    bound: Callable[[dict[str, tf.Tensor], Sampler], Bound]
    variables: list
    updates: int = 0


class TrainableModel(keras.Model):
    """A Keras model that maximises a bound, given as ``elbo``, ``term_names`` and ``phases``.

    Args:
      reconstruction_weight: factor of the reconstruction term in training, 1 by default; at first
        a low one lets the dynamics form before the pixels dominate.
      weight_updates: number of updates over which ``reconstruction_weight`` rises geometrically to
        1; 0: it is constant (default).
      noise_seed: seed of the training noise, an int, folded with the optimiser's iteration; 0 by
        default.
      batch_parts: number of parts of a batch that a training step computes one after another, to
        save memory; the update is the same. 1 by default.
      loss_scale: factor of the loss before gradients are computed, so that small gradients do not
        vanish in float16; an update with overflowed gradients is left out. 1 by default.
      **kwargs: arguments of ``keras.Model``.
    """

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

    # What a model defines.

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the bound's terms, known before any batch; ``reconstruction`` among them."""
        raise NotImplementedError

    def elbo(self, batch: dict[str, tf.Tensor], seed) -> Bound:
        """The bound of each sequence of a batch.

        Args:
          batch: ``frames [B, T, H, W, C]`` float32 in [0, 1], and optionally ``observed [B, T]``
            (1 = seen), ``controls [B, T, U]`` and ``num_objects [B]``: a batch of ``kvae_tf.data``.
          seed: an int, a stateless pair, or a ``Sampler`` where the batch is part of another.

        Returns:
          A ``Bound``.
        """
        raise NotImplementedError

    def training_bound(self, batch: dict[str, tf.Tensor], seed) -> Bound:
        """The bound that a training step maximises; by default ``elbo``.

        A model may return an unbiased estimate that costs less, or an annealed bound.
        """
        return self.elbo(batch, seed)

    @property
    def phases(self) -> list[Phase]:
        """The phases of the training, in order; by default one with all variables."""
        return [Phase(self.training_bound, self.trainable_variables)]

    @property
    def dynamics_variables(self) -> list:
        """The variables of the dynamics, without those of the frame networks; none by default."""
        return []

    # Keras.

    def compile(self, *args, **kwargs):
        """Compiles as every Keras model; creates the variables first, which needs no data."""
        if not self.built:
            self.build()
        super().compile(*args, **kwargs)

    def compile_from_config(self, config):
        """Compiles a model from a ``.keras`` file with the arguments it was compiled with."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: all is built. Keras would take a batch to build, with no public way out."""

    @property
    def metrics(self):
        """Running means of loss, bound, terms and gradient norm; Keras resets them each epoch."""
        return list(self._means.values())

    # The step.

    def loss_of(self, bound: Bound) -> tf.Tensor:
        """The training loss: minus the weighted bound, nats per frame, a scalar."""
        weight = self.reconstruction_weight
        if self.weight_updates:
            weight = tf.pow(weight, 1.0 - self._weight_risen())
        weighted = bound.elbo if bound.annealed is None else bound.annealed
        weighted += (weight - 1.0) * bound.terms["reconstruction"]
        return -tf.reduce_mean(weighted / bound.num_frames)

    def _weight_risen(self):
        """Share of ``weight_updates`` that are done: from 0 to 1, a scalar."""
        if not self.weight_updates:
            return tf.ones([])
        return tf.minimum(tf.cast(self.optimizer.iterations, tf.float32) / self.weight_updates, 1.0)

    def train_step(self, data):
        """One update; noise is a function of the seed and the iteration alone."""
        seed = tf.random.experimental.stateless_fold_in(
            self._seed_pair(0),
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
        """Bound, loss and gradients of the current phase.

        Args:
          data: a batch, see ``elbo``.
          seed: an int, a stateless pair or a ``Sampler``.

        Returns:
          A ``Bound``; the loss, a scalar; and a gradient for each trainable variable, 0 for a
          variable that is frozen.
        """
        sampler = as_sampler(seed)

        def whole(data, sampler):
            return self._in_current_phase(lambda phase: self._differentiate(phase, data, sampler))

        if self.batch_parts == 1:
            return whole(data, sampler)
        return self._by_parts(whole, data, sampler)

    def _by_parts(self, whole, data, sampler):
        """What ``whole`` returns for a batch, computed from its parts."""
        parts, rows = self.batch_parts, data["frames"].shape[0]
        if rows % parts:
            raise UserError(
                f"--batch_parts is {parts}, expected a divisor of the {rows} sequences of a batch"
            )
        split = {
            name: tf.reshape(x, [parts, rows // parts, *x.shape[1:]]) for name, x in data.items()
        }

        def one(index):
            rows = {name: x[index] for name, x in split.items()}
            bound, loss, gradients = whole(rows, sampler.part(index, parts))
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
        """The loss of the current phase on held-out sequences, with fixed noise, a scalar."""
        seed = self._seed_pair(1)
        return self._in_current_phase(lambda phase: self.loss_of(phase.bound(data, seed)))

    def _in_current_phase(self, function):
        """``function`` of the phase that the training is in."""
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
        gradients = tape.gradient(scaled, phase.variables)
        by_variable = {
            id(v): g / self.loss_scale
            for v, g in zip(phase.variables, gradients, strict=True)
            if g is not None
        }
        gradients = [by_variable.get(id(v), tf.zeros(v.shape)) for v in self.trainable_variables]
        return bound, loss, gradients

    def test_step(self, data):
        """The bound of a batch of held-out sequences, with fixed noise; padding has weight 0."""
        bound = self.elbo(data, self._seed_pair(1))
        return self._report(-bound.elbo / bound.num_frames, bound, weight=data.get("weight"))

    def _seed_pair(self, number):
        """The stateless seed ``(noise_seed, number)``; the first may be a variable, too."""
        return tf.stack([tf.cast(self.noise_seed, tf.int64), tf.constant(number, tf.int64)])

    def _report(self, loss, bound, weight=None, gradient_norm=None):
        self._means["loss"].update_state(loss, sample_weight=weight)
        for name, value in {"elbo": bound.elbo, **bound.terms}.items():
            self._means[name].update_state(value / bound.num_frames, sample_weight=weight)
        if gradient_norm is not None:
            self._means["gradient_norm"].update_state(gradient_norm)
        names = [n for n in self._means if gradient_norm is not None or n != "gradient_norm"]
        return replicas.reported({name: self._means[name].result() for name in names})
