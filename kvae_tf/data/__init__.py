"""Image sequences: simulated worlds, files and videos, missing frames, and batches.

``load`` returns the parts of a simulated world or of a file; ``training_batches`` and
``evaluation_batches`` turn a part into tf.data. This package does not depend on models.
"""

from kvae_tf.data.archives import from_arrays, load_arrays, save_npz
from kvae_tf.data.clips import load_video
from kvae_tf.data.datasets import is_video, load
from kvae_tf.data.in_memory import as_splits
from kvae_tf.data.masks import gap, missing_at_random, stateless_missing_at_random
from kvae_tf.data.moments import PixelMoments, entry_moments, pixel_moments
from kvae_tf.data.pipeline import (
    curriculum_batches,
    evaluation_batches,
    steps_per_pass,
    training_batches,
)
from kvae_tf.data.records import load_records
from kvae_tf.data.records import write as save_records
from kvae_tf.data.sequence_data import SequenceData, Splits, from_vectors, split
from kvae_tf.data.video import FrameTransform
from kvae_tf.data.worlds import WORLDS

__all__ = [
    "WORLDS",
    "FrameTransform",
    "PixelMoments",
    "SequenceData",
    "Splits",
    "as_splits",
    "curriculum_batches",
    "entry_moments",
    "evaluation_batches",
    "from_arrays",
    "from_vectors",
    "gap",
    "is_video",
    "load",
    "load_arrays",
    "load_records",
    "load_video",
    "missing_at_random",
    "pixel_moments",
    "save_npz",
    "save_records",
    "split",
    "stateless_missing_at_random",
    "steps_per_pass",
    "training_batches",
]
