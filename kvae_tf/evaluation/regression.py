"""How much of a world's true state a straight map reads off the latent states.

Karl et al. (2017), table 1 and figure 3: ordinary least squares on latent *samples*, not means.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kvae_tf.data import SequenceData
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import masked_batches, timed
from kvae_tf.evaluation.positions import AffineFit, fit_affine
from kvae_tf.models.contract import VideoModel


class Regression(NamedTuple):
    """Fitted on training sequences, judged on others.

    Attributes:
      names: of the quantities, S.
      fit: the map from latent states.
      r_squared: ``[S]``, 1 - residual variance / variance.
      log_likelihood: ``[S]`` nats of all frames together, under Gaussian residuals.
    """

    names: tuple[str, ...]
    fit: AffineFit
    r_squared: np.ndarray
    log_likelihood: np.ndarray


def quantities(data: SequenceData) -> dict[str, np.ndarray]:
    """True states by name, ``[N, T]``: an angle as its sine and cosine; empty where unknown."""
    if data.states is None:
        return {}
    states = {}
    for name, values in zip(data.state_names, np.moveaxis(data.states, -1, 0), strict=True):
        if name == "angle":
            states |= {"sin": np.sin(values), "cos": np.cos(values)}
        else:
            states["velocity" if name == "angular_velocity" else name] = values
    return states


def latent_samples(model: VideoModel, data: SequenceData, seed: int = 0) -> np.ndarray:
    """A draw of each latent state given the sequence, ``[N, T, n]``.

    Args:
      model: a model that can ``smooth`` or, if not, ``filter``.
      data: the sequences.
      seed: of the draws, which are Gaussian with the posterior's moments.
    """
    query = compiled_queries.latent_moments(model)
    rng, draws = np.random.default_rng(seed), []
    for batch, rows in masked_batches(data, data.observed):
        of = timed(model, batch.get("times"))
        moments = query(batch["frames"], batch["known"], batch["controls"], **of)
        means, covariances = (x.numpy().astype(float) for x in moments)
        values, vectors = np.linalg.eigh(covariances)
        roots = vectors * np.sqrt(np.maximum(values, 0.0))[..., np.newaxis, :]
        z = means + np.einsum("btij,btj->bti", roots, rng.normal(size=means.shape))
        draws.append(z[: rows.stop - rows.start])
    return np.concatenate(draws)


def first_step(model: VideoModel) -> int:
    """The first step whose latent state, as ``latent_samples`` draws it, is what it is called.

    Smoothed states are all given the whole sequence. Filtered ones of the first ``filter_warmup``
    steps also depend on later frames, so they are left out.
    """
    return 0 if "smooth" in model.supports else model.filter_warmup


def regression(model: VideoModel, train: SequenceData, test: SequenceData) -> Regression | None:
    """Least squares of the true states on latent samples, from ``first_step`` on.

    Args:
      model: a model with latent states of which it gives moments.
      train: the sequences that fit the map.
      test: the sequences that judge it.

    Returns:
      A ``Regression``, or None where the true states are unknown or all steps come too early.
    """
    first = first_step(model)
    if any(part.states is None or part.num_steps <= first for part in (train, test)):
        return None
    fit = fit_affine(*_samples_and_states(model, train, first))
    latents, truth = _samples_and_states(model, test, first)
    variance = np.mean(np.square(truth - fit(latents)), axis=0)
    return Regression(
        tuple(quantities(test)),
        fit,
        1.0 - variance / truth.var(axis=0),
        -0.5 * len(truth) * (np.log(2.0 * np.pi * variance) + 1.0),
    )


def _samples_and_states(model, data, first):
    """Latent samples ``[F, n]`` and true states ``[F, S]`` of the F frames that are seen."""
    seen = data.observed[:, first:] > 0
    truth = np.stack(list(quantities(data).values()), -1)
    return latent_samples(model, data)[:, first:][seen], truth[:, first:][seen]
