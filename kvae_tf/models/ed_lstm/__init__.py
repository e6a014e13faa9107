"""ED-LSTM, the baseline of the cannonball model."""

from kvae_tf.models.ed_lstm.model import EDLSTM

__all__ = ["EDLSTM"]
