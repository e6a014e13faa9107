"""The embedding projector's files agree with each other."""

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

from kvae_tf import data
from kvae_tf.models import KVAE
from kvae_tf.visualisation import projector


def test_points_pictures_and_what_is_known(tmp_path):
    part = data.WORLDS["pendulum"].splits(0, num_sequences=(1, 3, 1)).validation
    part.observed[1, 4] = 0
    model = KVAE(part.frame_shape, 1, units=(8,), encoding_size=3, likelihood="gaussian")
    model.build()
    projector.write(tmp_path, model, part)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    points = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
    known = np.genfromtxt(tmp_path / embedding.metadata_path, delimiter="\t", names=True)
    assert points.shape == (44, 3)
    expected = model.encode(part.unit_frames).mean.numpy()[part.observed > 0]
    np.testing.assert_allclose(points, expected, atol=1e-4)
    assert known.dtype.names[:2] == ("sequence", "step")
    assert len(known) == 44
    width, height = embedding.sprite.single_image_dim
    sprite = np.asarray(Image.open(tmp_path / embedding.sprite.image_path))[..., 0] / 255
    assert sprite.shape == (7 * height, 7 * width)
    n, (row, column) = 20, divmod(20, 7)
    cell = sprite[row * height : (row + 1) * height, column * width : (column + 1) * width]
    frame = part.unit_frames[part.observed > 0][n, ..., 0]
    np.testing.assert_allclose(cell, frame, atol=1 / 255)
