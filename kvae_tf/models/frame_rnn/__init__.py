"""AE-RNN and VAE-RNN, the baselines of the Kalman variational auto-encoder."""

from kvae_tf.models.frame_rnn.model import FrameRNN

__all__ = ["FrameRNN"]
