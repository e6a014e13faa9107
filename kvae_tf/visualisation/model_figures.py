"""The pictures of a model for TensorBoard and model cards."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
from tensorboard.plugins.image import metadata as image_plugin

from kvae_tf import evaluation
from kvae_tf.data import SequenceData, gap
from kvae_tf.models.contract import VideoModel
from kvae_tf.visualisation import charts, images

_DIMENSIONS = 8  # of encodings, at most, that are drawn


class Picture(NamedTuple):
    """An encoded image.

    Attributes:
      width: pixels.
      height: pixels.
      data: bytes of a PNG or of an animated GIF; TensorBoard shows both.
    """

    width: int
    height: int
    data: bytes


def pictures(model: VideoModel, data: SequenceData, seed: int = 0) -> dict[str, Picture]:
    """A model's pictures of a few sequences, by TensorBoard tag.

    Args:
      model: any model; pictures of queries that it does not answer are left out.
      data: at least one sequence.
      seed: seed of the generated sequences, an int, 0 by default.

    Returns:
      ``reconstructions``, ``imputations``, ``latents/trajectories``, ``latents/mode_weights`` and,
      for models with objects, ``latents/objects`` as PNGs; ``generated`` as an animated GIF.
    """
    frames, observed, controls = data.unit_frames, data.observed, data.controls
    counts = data.num_objects
    one = None if counts is None else counts[:1]
    times = evaluation.timed(model, data.times)
    drawings = {}
    if "impute" in model.supports:
        known = evaluation.encodings(model, data)
        means = model.decode(known[:1], num_objects=one).numpy()
        if not data.is_vector:
            strip = [frames[0], means[0]]
            drawings["reconstructions"] = _png(
                images.film_strip(strip, labels=["data", "model"], observed=observed[0])
            )
    if model.max_objects:
        drawings["latents/objects"] = _png(charts.paths(_objects(model, data)))
    if "impute" in model.supports and data.num_steps >= 3:
        mask = observed * gap(*observed.shape, *evaluation.middle_gap(data.num_steps))
        filled = {
            method: model.impute(frames, mask, controls, method=method, num_objects=counts, **times)
            for method in model.imputation_methods
        }
        drawings["imputations"] = _png(_imputations(frames, mask, filled, data.is_vector))
        shown = (slice(3), slice(None), slice(_DIMENSIONS))
        encodings = {method: result.encodings.numpy()[shown] for method, result in filled.items()}
        drawings["latents/trajectories"] = _png(
            images.latent_trajectories(known[shown], observed=mask[:3], others=encodings)
        )
        weights = filled[model.imputation_methods[0]].mode_weights.numpy()[0]
        if weights.size:
            picture = images.mode_weights(weights, observed=mask[0])
            drawings["latents/mode_weights"] = _png(picture)
    if "generate" in model.supports and not data.is_vector:
        drawn = model.generate(
            len(data), 2 * data.num_steps, seed=seed, num_objects=counts
        ).frames.numpy()
        drawings["generated"] = _gif(images.grid_gif(drawn))
    return drawings


def _objects(model, data):
    """Trajectories of each sequence's objects; over the epochs figure 5a of Chiappa and Paquet."""
    places = evaluation.latent_positions(model, data)
    counts = [model.max_objects] * len(data) if data.num_objects is None else data.num_objects
    return [{"inferred": [places[n, :, i] for i in range(count)]} for n, count in enumerate(counts)]


def _imputations(frames, mask, filled, is_vector):
    """Film strips of one sequence; for vectors the entries of three sequences over time."""
    if is_vector:
        shown = (slice(3), slice(None), 0, slice(_DIMENSIONS), 0)
        others = {method: result.frames.numpy()[shown] for method, result in filled.items()}
        return images.latent_trajectories(frames[shown], observed=mask[:3], others=others)
    rows = [frames[0], frames[0] * mask[0, :, None, None, None]]
    rows += [filled[method].frames[0].numpy() for method in filled]
    return images.film_strip(rows, labels=["data", "seen", *filled], observed=mask[0])


def write_summary(tag: str, picture: Picture) -> None:
    """Writes a picture to TensorFlow's default summary writer, at its default step."""
    values = [str(picture.width).encode(), str(picture.height).encode(), picture.data]
    metadata = image_plugin.create_summary_metadata(display_name=tag, description="")
    tf.summary.write(tag, tf.constant(values), metadata=metadata)


def _png(image):
    height, width = image.shape[:2]
    return Picture(width, height, images.encode_png(image))


def _gif(data):
    # Bytes 6 to 10 of a GIF are its width and height, little-endian.
    return Picture(int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little"), data)
