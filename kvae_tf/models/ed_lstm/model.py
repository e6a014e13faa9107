r"""ED-LSTM, the baseline of Chiappa and Paquet (section 3.4, figure 7).

A recurrent network whose state renders each frame, and which is then told what the frame was:

    σ_t = LSTM(σ_{t-1}, [encoder(v_{t-1}), u_{t-1}])         v_t ~ decoder(σ_t)

Where a frame is missing, the mean of its prediction is fed back in its place. Since each frame is
predicted from those before it, the sum of all log p(v_t | v_{1:t-1}) is log p(v) itself.

======  ====================  ===================
letter  name                  shape
======  ====================  ===================
v       ``frames``            ``[B, T, H, W, C]``
u       ``controls``          ``[B, T, U]``
σ       ``encodings``         ``[B, T, S]``
======  ====================  ===================
"""

from __future__ import annotations

import keras
import tensorflow as tf

from kvae_tf import lgssm
from kvae_tf.layers import FrameDecoder, FrameFeatures, frame_likelihood
from kvae_tf.models import inputs
from kvae_tf.models.base import SequenceModel
from kvae_tf.models.contract import Bound, Frames


@keras.saving.register_keras_serializable("kvae_tf")
class EDLSTM(SequenceModel):
    """An LSTM between an encoder and a decoder of frames, which predicts the next frame.

    Args:
      frame_shape: ``(H, W, C)``.
      control_size: U, 0 for none.
      network: ``"mlp"`` or ``"cnn"`` encoder and decoder.
      units: widths of the dense layers, or filters of the convolutions; the decoder has them in
        reverse.
      feature_size: width of what convolutions say of a frame.
      state_size: S, width of the LSTM.
      likelihood: ``"bernoulli"`` or ``"gaussian"`` pixels.
      per_pixel_std: Gaussian pixels: one learned standard deviation per pixel, else one for all.
      variance_floor: Gaussian pixels: the smallest variance.
      precision: of the halves' inner layers: ``"float32"`` or ``"mixed_bfloat16"``.
      **training: ``noise_seed`` and the like of the base class.
    """

    bound_name = "log_likelihood"
    imputation_methods = ("filter",)

    def __init__(
        self,
        frame_shape,
        control_size=0,
        network="mlp",
        units=(512,),
        feature_size=128,
        state_size=2048,
        likelihood="bernoulli",
        per_pixel_std=True,
        variance_floor=1e-4,
        precision="float32",
        **training,
    ):
        super().__init__(**training)
        self.record_arguments(locals())
        self.frame_shape = tuple(frame_shape)
        self.control_size = control_size
        self.encoder = FrameFeatures(network, units, feature_size, precision, name="encoder")
        self.decoder = FrameDecoder(network, frame_shape, units[::-1], precision, name="decoder")
        self.likelihood = frame_likelihood(likelihood, frame_shape, per_pixel_std, variance_floor)
        self.variance_floor = self.likelihood.variance_floor
        self.cell = keras.layers.LSTMCell(state_size, name="cell")

    def build(self, input_shape=None):
        """Creates all variables; shapes are known from the constructor's arguments."""
        del input_shape
        self.encoder.build((None, *self.frame_shape))
        self.decoder.build((None, self.cell.units))
        self.likelihood.build((None, *self.frame_shape))
        self.cell.build((None, self.encoder.size + self.control_size))
        self.built = True

    @property
    def term_names(self):
        return ("reconstruction",)

    @property
    def encoding_size(self):
        return self.cell.units

    @property
    def dynamics_variables(self):
        return self.cell.trainable_variables

    def elbo(self, batch, seed):
        """log p(v | u): exact where all frames are seen; of missing ones the mean is fed back."""
        del seed
        frames, observed, controls, _ = inputs.of_batch(self, batch)
        seen = tf.ones(tf.shape(frames)[:2]) if observed is None else observed
        states = self._run(frames, observed, controls)
        log_p = self.likelihood.log_prob(self.decoder(states), frames)
        log_p = tf.reduce_sum(seen * log_p, axis=1)
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        return Bound(log_p, {"reconstruction": log_p}, num_frames)

    def _run(self, frames, observed, controls):
        """σ of all steps, ``[B, T, S]``."""
        batch, S = tf.shape(frames)[0], self.cell.units
        rest = tf.zeros([batch, S])
        controls = tf.transpose(controls[:, : tf.shape(frames)[1]], [1, 0, 2])
        start = (tf.zeros([batch, self.encoder.size + self.control_size]), rest, rest)

        def seen_by(frame, control):
            return tf.concat([tf.nn.relu(self.encoder(frame)), control], axis=-1)

        def follow(carry, now):
            """What was seen of a frame is known before the loop."""
            rnn_input, *state = carry
            output, state = self.cell(rnn_input, state)
            return (now[0], *state), (output,)

        def guess(carry, now):
            """A missing frame is known only from the state before it."""
            rnn_input, *state = carry
            frame, seen, control = now
            output, state = self.cell(rnn_input, state)
            mean = self.likelihood.mean(self.decoder(output))
            frame = tf.where(seen[:, None, None, None] > 0, frame, mean)
            return (seen_by(frame, control), *state), (output,)

        frames = tf.transpose(frames, [1, 0, 2, 3, 4])
        if observed is None:
            body, sequences = follow, (seen_by(frames, controls),)
        else:
            body, sequences = guess, (frames, tf.transpose(observed), controls)
        _, (states,) = lgssm.scan(body, start, sequences, [[frames.shape[1], S]])
        return tf.transpose(states, [1, 0, 2])

    # Queries.

    def _decode(self, encodings, num_objects=None):
        del num_objects
        return self.likelihood.mean(self.decoder(encodings))

    def _impute(self, given, method):
        """Each frame is the prediction from those before it; encodings are the LSTM's states."""
        del method
        states = self._run(given.frames, given.observed, given.controls)
        none = tf.zeros_like(states[..., :0])
        return Frames(self._decode(states), states, tf.zeros_like(states), states, none)

    def _forecast(self, given, num_steps):
        return inputs.forecast_by_imputation(self, given, num_steps)
