"""Positions of several objects against the true ones.

A model knows its objects in an order of its own, and their positions up to an affine map, the same
for all objects and all sequences. Both are fitted to training sequences; on test sequences only the
order is chosen, once a sequence. The true positions are those before their noise, and so are the
model's: B h_t as smoothed or filtered, not a_t.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kvae_tf.data import SequenceData
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.masked_batches import masked_batches
from kvae_tf.evaluation.positions import AffineFit, fit_affine, of_all
from kvae_tf.models.contract import VideoModel

_ROUNDS, _RESTARTS = 20, 8
_CONTEXT = 5  # frames seen before those that show how objects go on
_NAMED = 2  # of the latter, that say who is who
_FITTED = 500  # training sequences
_CHANCE = 4.0  # standard errors


class ObjectErrors(NamedTuple):
    """How well a model locates objects.

    Attributes:
      r_squared: number of objects -> R², the mean of both axes.
      rmse: number of objects -> root mean squared distance, pixels.
      filter_rmse: the same of filtered positions.
      identity_switch_rate: share of the sequences with several objects in which at least one object
        is taken for another, who is who being asked of the first frame.
      mix_up_rate: number of objects, from 2 on -> share of their sequences in which at least one
        object is taken for another, who is who being asked of the whole sequence: two objects that
        begin at the same place are not told apart by their first frame.
      forecast_error: mean distance of forecast positions from the true ones, pixels, at each step
        after 5 frames that are seen; who is who is asked of the first two of these steps.
      acceleration_ratio: length of the learned acceleration over the length of the true one; None
        where nothing pulls the objects one way.
      acceleration_angle: degrees between the learned and the true acceleration, or None.
    """

    r_squared: dict[int, float]
    rmse: dict[int, float]
    filter_rmse: dict[int, float]
    identity_switch_rate: float
    mix_up_rate: dict[int, float]
    forecast_error: list[float]
    acceleration_ratio: float | None
    acceleration_angle: float | None


def true_positions(data: SequenceData) -> np.ndarray | None:
    """The states called x_1, y_1, x_2 …, ``[N, T, objects, 2]``; None where the data have none."""
    names = data.state_names
    count = sum(name.startswith("x_") for name in names)
    if data.states is None or data.num_objects is None or not count:
        return None
    columns = [names.index(f"{axis}_{n + 1}") for n in range(count) for axis in ("x", "y")]
    return data.states[..., columns].reshape(*data.states.shape[:2], count, 2)


def object_errors(
    model: VideoModel, data: SequenceData, train: SequenceData, tolerance: float = 4.0
) -> ObjectErrors | None:
    """How well a model locates the objects of ``data``.

    Args:
      model: a model that knows objects.
      data: the sequences.
      train: fits the map from latent positions to true ones.
      tolerance: pixels, as ``identity_switches`` takes it; the default is a ball's diameter.

    Returns:
      The errors, or None where the model knows no objects, or the data do not know where they are.
    """
    truth = true_positions(data)
    if not model.max_objects or truth is None:
        return None
    fit, counts = fit_objects(model, train), data.num_objects
    followed = of_all(compiled_queries.follow(model), model, data)
    estimated, filtered = (
        in_order(x, best_orders(x, truth, counts))
        for x in (fit(latent_positions(model, data)), fit(positions_of(model, followed)))
    )
    r_squared, rmse, filter_rmse = {}, {}, {}
    for count in np.unique(counts).tolist():
        is_counted = counts == count
        centre = truth[is_counted, :, :count]
        error, filter_error = (x[is_counted, :, :count] - centre for x in (estimated, filtered))
        spread = centre.var(axis=(0, 1, 2))
        r_squared[count] = float(np.mean(1.0 - np.square(error).mean((0, 1, 2)) / spread))
        rmse[count] = float(np.sqrt(np.square(error).sum(-1).mean()))
        filter_rmse[count] = float(np.sqrt(np.square(filter_error).sum(-1).mean()))
    several = counts > 1
    given = estimated[several], truth[several], counts[several], tolerance
    rate = float(np.mean(identity_switches(*given) > 0)) if several.any() else 0.0
    known = np.tile(np.arange(truth.shape[2]), (several.sum(), 1))  # estimated are in order
    is_mixed_up = identity_switches(*given, known) > 0
    mixed_up = {
        count: float(np.mean(is_mixed_up[counts[several] == count]))
        for count in np.unique(counts[several]).tolist()
    }
    forecast = _forecast_positions(model, data)
    ratio, angle = _acceleration(forecast @ fit.matrix, truth, counts)
    forecast, after = fit(forecast), truth[:, _CONTEXT:]
    forecast = in_order(forecast, best_orders(forecast[:, :_NAMED], after[:, :_NAMED], counts))
    ahead = mean_distances(forecast, after, counts).mean(axis=0).tolist()
    return ObjectErrors(r_squared, rmse, filter_rmse, rate, mixed_up, ahead, ratio, angle)


def latent_positions(model: VideoModel, data: SequenceData) -> np.ndarray:
    """Smoothed positions of all objects, nothing hidden, ``[N, T, objects, 2]``."""
    return positions_of(model, of_all(compiled_queries.smoothed(model), model, data))


def positions_of(model: VideoModel, latents: np.ndarray) -> np.ndarray:
    """The positions in latent states: ``[N, T, objects * 4] -> [N, T, objects, 2]``."""
    return latents.reshape(*latents.shape[:2], model.max_objects, -1)[..., :2]


def fit_objects(model: VideoModel, train: SequenceData) -> AffineFit:
    """The map from latent positions to true ones, by least squares under the best orders."""
    train = train.select(slice(0, _FITTED))
    return fit_in_any_order(
        latent_positions(model, train), true_positions(train), train.num_objects
    )


def fit_in_any_order(estimated: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> AffineFit:
    """Least squares in turn with the best order of each sequence.

    Args:
      estimated: ``[N, T, objects, 2]``, positions in the model's own units.
      truth: ``[N, T, objects, 2]``, true positions, pixels.
      counts: ``[N]``, objects in a sequence.
    """
    rng = np.random.default_rng(0)
    fewest = counts == counts.min()
    # One object has but one order; several may start in a wrong one, so many starts are made.
    starts = 1 if counts.min() == 1 else _RESTARTS
    fits = []
    for _ in range(starts):
        orders = [rng.permutation(n) for n in counts[fewest]]
        orders = np.array([[*order, *range(len(order), estimated.shape[2])] for order in orders])
        fit = _fit(in_order(estimated[fewest], orders), truth[fewest], counts[fewest])
        for _ in range(_ROUNDS):
            orders = best_orders(fit(estimated), truth, counts)
            last, fit = fit, _fit(in_order(estimated, orders), truth, counts)
            if np.array_equal(last.matrix, fit.matrix):
                break
        fits.append(fit)
    return max(fits, key=lambda fit: fit.r_squared.mean())


def best_orders(estimated: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Which estimated object is which true one, one order a sequence, ``[N, objects]``.

    Args:
      estimated: ``[N, T, objects, 2]``, in the units of the truth.
      truth: ``[N, T, objects, 2]``.
      counts: ``[N]``, objects in a sequence; those beyond it stay where they are.
    """
    size = truth.shape[2]
    distances = np.square(estimated[:, :, np.newaxis] - truth[:, :, :, np.newaxis]).sum(-1).mean(1)
    orders = np.tile(np.arange(size), (len(estimated), 1))  # distances: [N, true, estimated]
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        ways = np.array(list(itertools.permutations(range(count))))
        costs = distances[rows][:, np.arange(count), ways].sum(-1)  # [rows, ways]
        orders[rows, :count] = ways[costs.argmin(1)]
    return orders


def in_order(estimated: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Objects ``[N, T, objects, 2]`` put into the orders ``[N, objects]``."""
    return np.take_along_axis(estimated, orders[:, np.newaxis, :, np.newaxis], axis=2)


def mean_distances(places: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean distance over the objects of a sequence, ``[N, T]``.

    Args:
      places: ``[N, T, objects, 2]``, in the order of the true ones.
      truth: ``[N, T, objects, 2]``.
      counts: ``[N]``, objects in a sequence.
    """
    is_present = (np.arange(truth.shape[2]) < counts[:, np.newaxis])[:, np.newaxis]
    distances = np.linalg.norm(places - truth, axis=-1) * is_present
    return distances.sum(-1) / counts[:, np.newaxis]


def identity_switches(
    estimated: np.ndarray,
    truth: np.ndarray,
    counts: np.ndarray,
    tolerance: float,
    orders: np.ndarray | None = None,
) -> np.ndarray:
    """How often, in each sequence, estimated objects come to stand for other true ones, ``[N]``.

    As in the CLEAR MOT metrics (Bernardin and Stiefelhagen 2008): who stands for whom stays, as
    long as it is no further off than ``tolerance``; else the nearest match takes its place.

    Args:
      estimated: ``[N, T, objects, 2]``, in the units of the truth.
      truth: ``[N, T, objects, 2]``, true positions.
      counts: ``[N]``, objects in a sequence.
      tolerance: a distance, in the units of the truth.
      orders: ``[N, objects]``, which estimated object stands for which true one before the first
        frame; None: the nearest match in the first frame (default).
    """
    switches = np.zeros(len(estimated), int)
    for i, count in enumerate(counts):
        ways = np.array(list(itertools.permutations(range(count))))
        here = estimated[i, :, np.newaxis, :count] - truth[i, :, :count, np.newaxis]
        distances = np.linalg.norm(here, axis=-1)  # [T, true, estimated]
        true = np.arange(count)
        order = None if orders is None else orders[i, :count]
        for distance in distances:
            if order is not None and (distance[true, order] <= tolerance).all():
                continue
            best = ways[np.square(distance[true, ways]).sum(-1).argmin()]
            switches[i] += order is not None and not np.array_equal(best, order)
            order = best
    return switches


def _fit(estimated, truth, counts):
    there = np.arange(estimated.shape[2]) < counts[:, np.newaxis]
    there = np.broadcast_to(there[:, np.newaxis], estimated.shape[:3])
    return fit_affine(estimated[there], truth[there])


def _forecast_positions(model, data):
    """In the model's own units, after the first frames, ``[N, steps, objects, 2]``."""
    steps = data.num_steps - _CONTEXT
    forecast = tf.function(
        lambda frames, **objects: model.forecast(frames, num_steps=steps, **objects).encodings,
        autograph=False,
    )
    paths = []
    for batch, rows in masked_batches(data, data.observed):
        encodings = forecast(
            batch["frames"][:, :_CONTEXT], num_objects=batch.get("num_objects")
        ).numpy()
        paths.append(encodings[: rows.stop - rows.start])
    paths = np.concatenate(paths).astype(np.float64)
    return paths.reshape(len(data), steps, model.max_objects, -1)


def _acceleration(forecast, truth, counts):
    """The second differences of forecasts against the true ones: their ratio, and the angle.

    None and None where the true ones are no larger than chance.
    """
    there = np.arange(truth.shape[2]) < counts[:, np.newaxis]
    true = np.diff(truth.astype(np.float64), 2, axis=1).mean(axis=1)[there]
    error = true.std(axis=0) / np.sqrt(len(true))
    true = true.mean(axis=0)
    if np.all(np.abs(true) < _CHANCE * error):
        return None, None
    there = np.arange(forecast.shape[2]) < counts[:, np.newaxis]
    learned = np.diff(forecast, 2, axis=1).mean(axis=1)[there].mean(axis=0)
    lengths = np.linalg.norm(learned), np.linalg.norm(true)
    cosine = learned @ true / max(lengths[0] * lengths[1], 1e-300)
    return float(lengths[0] / lengths[1]), float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
