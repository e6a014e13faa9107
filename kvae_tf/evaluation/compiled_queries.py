"""A model's queries as graphs. All evaluations share them, so that each is traced only once."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from kvae_tf.models.contract import VideoModel


def elbo(model: VideoModel) -> Callable:
    """``model.elbo``."""
    return _shared(model, "elbo", model.elbo)


def decode(model: VideoModel) -> Callable:
    """``model.decode``."""
    return _shared(model, "decode", model.decode)


def fill(model: VideoModel) -> Callable:
    """``model.impute``, of which only the encodings ``[B, T, m]``: nothing is decoded."""
    return _shared(model, "fill", lambda *given, **how: model.impute(*given, **how).encodings)


def fill_both(model: VideoModel) -> Callable:
    """``model.impute``, of which the encodings and the frames."""

    def both(*given, **how):
        filled = model.impute(*given, **how)
        return filled.encodings, filled.frames

    return _shared(model, "fill_both", both)


def fill_frames(model: VideoModel) -> Callable:
    """``model.impute``, of which only the frames ``[B, T, H, W, C]``."""
    return _shared(model, "fill_frames", lambda *given, **how: model.impute(*given, **how).frames)


def fill_moments(model: VideoModel) -> Callable:
    """``model.impute``, of which only the encodings and their stds, ``[B, T, m]`` each."""

    def moments(*given, **how):
        filled = model.impute(*given, **how)
        return filled.encodings, filled.encoding_stds

    return _shared(model, "fill_moments", moments)


def follow(model: VideoModel) -> Callable:
    """``model.impute`` by filtering, of which only the latent states ``[B, T, n]``."""

    def latents(*given, **how):
        return model.impute(*given, method="filter", **how).latents

    return _shared(model, "follow", latents)


def smoothed(model: VideoModel) -> Callable:
    """``model.smooth``, of which only the means ``[B, T, n]``."""
    return _shared(model, "smoothed", lambda *given, **how: model.smooth(*given, **how).means)


def score(model: VideoModel) -> Callable:
    """``model.score``."""
    return _shared(model, "score", model.score)


def generate(model: VideoModel) -> Callable:
    """``model.generate``. Numbers of sequences and of steps are Python's; new ones are traced."""
    return _shared(model, "generate", model.generate)


def latent_moments(model: VideoModel) -> Callable:
    """``model.smooth``, or ``model.filter`` of a model that cannot smooth: ``Latents``."""
    query = "smooth" if "smooth" in model.supports else "filter"
    return _shared(model, query, getattr(model, query))


def encode(model: VideoModel) -> Callable:
    """Frames, observed, controls and ``num_objects`` to encodings ``[B, T, m]``.

    They are means of q(a | x), or where a model has no encoding of single frames its states of
    sequences in which nothing more is hidden.
    """
    if "encode" in model.supports:
        return _shared(model, "encode", lambda frames, *others, **counts: model.encode(frames).mean)
    return fill(model)


def encoding_moments(model: VideoModel) -> Callable:
    """Frames, observed, controls and ``num_objects`` to means and stds of encodings, ``[B, T, m]``.

    They are those of q(a | x), or for a model without ``encode`` those of its states given all that
    was observed.
    """

    def moments(frames, *others, **of):
        if "encode" in model.supports:
            return model.encode(frames)
        filled = model.impute(frames, *others, method=model.imputation_methods[0], **of)
        return filled.encodings, filled.encoding_stds

    return _shared(model, "encoding_moments", moments)


def _shared(model, name, query):
    # Past Keras, which would look for variables in what it is given.
    graphs = vars(model).setdefault("_evaluation_graphs", {})
    if name not in graphs:
        graphs[name] = tf.function(query, autograph=False)
    return graphs[name]
