"""Whether states of a linear model of vectors should have velocities: what hidden entries say."""

from __future__ import annotations

import numpy as np

from kvae_tf.data import SequenceData, entry_moments
from kvae_tf.models.kvae import linear_em

_FOLDS, _SHARE = 5, 0.1  # of the entries, hidden in turn
_ROUNDS = 50  # as in the recipe
_ROWS = 500
_FEWEST = 20  # hidden entries that say anything
_SEED = 90_417  # of the folds: none that entries were hidden with already


def prefers_velocities(train: SequenceData, latent_size: int) -> bool:
    """Whether hidden entries are filled in better with velocities than without.

    Five times a tenth of the entries is hidden, and both models are fitted to the others. The
    geometric mean over columns of their mean squared errors decides, so that columns count alike.

    Args:
      train: training sequences, vectors; at most 500 rows are looked at.
      latent_size: number of states without velocities, at least D.
    """
    data = linear_em.observations(train, entry_moments(train))
    data = linear_em.Observations(*(x[:, :_ROWS] for x in data))
    most = max(_ROWS // data.entries.shape[1], 1)
    chosen = linear_em.evenly(len(data.entries), most)
    data = linear_em.Observations(*(x[chosen] for x in data))
    fold = np.random.default_rng(_SEED).random(data.there.shape) // _SHARE
    hidden = [(data.there > 0) & (fold == i) for i in range(_FOLDS)]
    if min(where.sum() for where in hidden) < _FEWEST:
        return False
    with_them, without = (
        sum(_squares(data, where, latent_size, velocities) for where in hidden)
        for velocities in (True, False)
    )
    wrong = without > 0
    return bool(np.sum(np.log(with_them[wrong] / without[wrong])) < 0)


def _squares(data, hidden, latent_size, velocities):
    """Sums ``[D]`` of the squared errors of hidden entries."""
    given = data._replace(entries=np.where(hidden, 0.0, data.entries), there=data.there * ~hidden)
    first = linear_em.start(given, latent_size * (2 if velocities else 1), velocities)
    model, control = first.model, first.control
    for _ in range(_ROUNDS):
        model, control = linear_em.improve(model, control, given, first)
    means = linear_em.prediction(model, control, given)
    return np.where(hidden, np.square(data.entries - means), 0.0).sum((0, 1))
