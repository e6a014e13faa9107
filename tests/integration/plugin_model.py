"""A model of one's own in one file: each frame is encoded, and encodings follow a straight line.

    a_t = encoder(x_t),  x_t ~ decoder(a_t),  a_{t+1} ~ N(a_t + (a_t - a_{t-1}), noise)

Use it with ``--plugin=tests/integration/plugin_model.py --model=straight_line``.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf

from kvae_tf.data.settings import setting
from kvae_tf.layers import Encoding, FrameDecoder, FrameEncoder, frame_likelihood
from kvae_tf.models import Bound, Frames, ModelSpec, SequenceModel, Setup, inputs, register
from kvae_tf.models.settings import FrameSettings


@dataclass(frozen=True)
class StraightLineSettings(FrameSettings):
    """Its own settings, beside those of the frame networks; each becomes a flag."""

    line_size: int = setting(2, "Dimension of an encoding.", least=1)
    line_noise: float = setting(0.1, "Standard deviation of a step.", least=1e-6)


@keras.saving.register_keras_serializable("straight_line")
class StraightLine(SequenceModel):
    """An auto-encoder whose encodings move along straight lines."""

    term_names = ("reconstruction", "motion")
    bound_name = "joint_log_density"  # of frames and encodings, which bounds nothing
    imputation_methods = ("filter",)

    def __init__(
        self,
        frame_shape,
        control_size=0,
        line_size=2,
        line_noise=0.1,
        network="mlp",
        units=(128, 128),
        likelihood="bernoulli",
        per_pixel_std=True,
        variance_floor=1e-4,
        precision="float32",
        **training,
    ):
        super().__init__(**training)
        self.record_arguments(locals())  # for get_config
        self.frame_shape, self.control_size = tuple(frame_shape), control_size
        self.line_noise = line_noise
        self.encoder = FrameEncoder(network, line_size, units, 1.0, precision, name="encoder")
        self.decoder = FrameDecoder(network, frame_shape, units[::-1], precision, name="decoder")
        self.likelihood = frame_likelihood(likelihood, frame_shape, per_pixel_std, variance_floor)
        self.variance_floor = self.likelihood.variance_floor

    def build(self, input_shape=None):
        """Creates all variables; their shapes are known."""
        del input_shape
        self.encoder.build((None, *self.frame_shape))
        self.decoder.build((None, self.encoding_size))
        self.likelihood.build((None, *self.frame_shape))
        self.built = True

    def elbo(self, batch, seed):
        """Log-likelihood of the frames, and of the steps between encodings."""
        del seed
        given = inputs.of_batch(self, batch)
        a = self.encoder(given.frames)[0]
        log_p = self.likelihood.log_prob(self.decoder(a), given.frames)
        bend = (a[:, 2:] - 2.0 * a[:, 1:-1] + a[:, :-2]) / self.line_noise
        together = given.seen[:, 2:] * given.seen[:, 1:-1] * given.seen[:, :-2]
        terms = {
            "reconstruction": tf.reduce_sum(given.seen * log_p, axis=1),
            "motion": tf.reduce_sum(together * inputs.log_normal(bend, 0.0 * bend), axis=1),
        }
        num_frames = tf.maximum(tf.reduce_sum(given.seen, axis=1), 1.0)
        return Bound(sum(terms.values()), terms, num_frames)

    # What the model can be asked: each of these makes a public call of the same name.

    def _encode(self, frames):
        mean, std = self.encoder(frames)
        return Encoding(mean, tf.zeros_like(std))

    def _decode(self, encodings, num_objects=None):
        del num_objects
        return self.likelihood.mean(self.decoder(encodings))

    def _impute(self, given, method):
        """Where a frame is missing, its encoding goes on from the two before it."""
        del method
        read, seen = self.encoder(given.frames)[0], given.seen

        def step(before, now):
            last, step = before
            a, is_seen = now
            a = tf.where(is_seen[:, tf.newaxis] > 0, a, last + step)
            return a, a - last

        start = (read[:, 0], tf.zeros_like(read[:, 0]))
        rest = (tf.transpose(read[:, 1:], [1, 0, 2]), tf.transpose(seen[:, 1:]))
        later, _ = tf.scan(step, rest, initializer=start)
        a = tf.concat([read[:, :1], tf.transpose(later, [1, 0, 2])], axis=1)
        known = seen[..., tf.newaxis] * tf.ones_like(a)
        return Frames(self._decode(a), a, (1.0 - known) * self.line_noise, a, a[..., :0])

    def _forecast(self, given, num_steps):
        return inputs.forecast_by_imputation(self, given, num_steps)


def _create(setup: Setup) -> StraightLine:
    return StraightLine(**setup.arguments())


register(
    ModelSpec(
        name="straight_line",
        title="Straight line",
        summary="An auto-encoder whose encodings move along straight lines",
        paper="an example of this documentation",
        settings=StraightLineSettings,
        create=_create,
        describe=lambda settings: f"{settings.line_size}-dimensional encodings",
        studies=("missing_at_random", "gap", "trajectories", "forecast"),
    )
)
