r"""ED-LSTM, the baseline of Chiappa and Paquet (section 3.4, figure 7).

A recurrent network whose state is decoded to the next frame, and which then reads the true frame:

    σ_t = LSTM(σ_{t-1}, [encoder(v_{t-1}), u_{t-1}])         v_t ~ decoder(σ_t)

Where a frame is missing, the mean of its prediction is fed back in its place. Since each frame is
predicted from the earlier ones, the sum of all log p(v_t | v_{1:t-1}) is exactly log p(v).

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
      frame_shape: ``(H, W, C)`` of a frame.
      control_size: number U of controls; 0: none (default).
      network: kind of encoder and decoder, ``"mlp"`` (default) or ``"cnn"``.
      units: widths of the dense layers, or filters of the convolutions, of the encoder; the decoder
        has them in reverse order.
      feature_size: width of the features that convolutions take from a frame, 128 by default.
      state_size: width S of the LSTM, 2048 by default.
      likelihood: distribution of pixels, ``"bernoulli"`` (default) or ``"gaussian"``.
      per_pixel_std: Gaussian pixels: one learned standard deviation per pixel (default), else one
        for all pixels.
      variance_floor: Gaussian pixels: smallest variance, 1e-4 by default.
      precision: Keras' dtype policy of the inner layers of encoder and decoder: ``"float32"``
        (default), ``"mixed_bfloat16"`` or ``"mixed_float16"``.
      **training: arguments of ``TrainableModel``, for instance ``noise_seed``.

    Raises:
      UserError: ``network`` or ``likelihood`` is unknown.
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
        """log p(v | u), nats; exact if all frames are seen, else missing ones become means."""
        del seed
        frames, observed, controls, *_ = inputs.of_batch(self, batch)
        seen = inputs.mask(observed, frames)
        states = self._run(frames, observed, controls)
        log_p = self.likelihood.log_prob(self.decoder(states), frames)
        log_p = tf.reduce_sum(seen * log_p, axis=1)
        num_frames = tf.maximum(tf.reduce_sum(seen, axis=1), 1.0)
        return Bound(log_p, {"reconstruction": log_p}, num_frames)

    def _run(self, frames, observed, controls):
        """σ of all steps, ``[B, T, S]``."""
        batch, S = tf.shape(frames)[0], self.cell.units
        zeros = tf.zeros([batch, S])
        controls = tf.transpose(controls[:, : tf.shape(frames)[1]], [1, 0, 2])
        start = (tf.zeros([batch, self.encoder.size + self.control_size]), zeros, zeros)

        def rnn_input_of(frame, control):
            return tf.concat([tf.nn.relu(self.encoder(frame)), control], axis=-1)

        def follow(carry, now):
            """One step where all frames are seen; they are encoded before the loop."""
            rnn_input, *state = carry
            output, state = self.cell(rnn_input, state)
            return (now[0], *state), (output,)

        def guess(carry, now):
            """One step where frames may be missing, which are replaced by their prediction."""
            rnn_input, *state = carry
            frame, seen, control = now
            output, state = self.cell(rnn_input, state)
            mean = self.likelihood.mean(self.decoder(output))
            frame = tf.where(seen[:, None, None, None] > 0, frame, mean)
            return (rnn_input_of(frame, control), *state), (output,)

        frames = tf.transpose(frames, [1, 0, 2, 3, 4])
        if observed is None:
            body, sequences = follow, (rnn_input_of(frames, controls),)
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
