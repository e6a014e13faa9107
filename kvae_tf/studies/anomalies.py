"""Whether scores tell what goes wrong in a film, with anomalies that the simulator injects."""

from __future__ import annotations

import numpy as np

from kvae_tf.data.worlds import anomalies as worlds
from kvae_tf.errors import UserError
from kvae_tf.evaluation import auroc, frame_scores, judged, lowest_mean
from kvae_tf.evaluation.scores import WARM_UP
from kvae_tf.models.contract import Scores
from kvae_tf.studies.report import EvaluationTarget, Report, need
from kvae_tf.visualisation import charts, images

WINDOWS = (1, 2, 3)  # frames in a row over which scores are averaged
FIRST = 3  # anomalous frames of a sequence, which are also looked at alone
LEVEL = 0.01  # of the threshold for single frames
LONG, STRETCH, LONG_SEQUENCES = 104, 20, 200  # frames of long films, in stretches


def anomalies(target: EvaluationTarget) -> Report:
    """AUROC of jumps, changed speeds, patches and still films, in test sequences of a world.

    A sequence is as anomalous as its lowest mean score of one to three frames in a row. Which of
    the three scores, and how many frames, is chosen on the validation part: where the worst AUROC
    over the kinds of anomalies is best. All numbers are of the test part.
    """
    need(target, worlds.LEAST_STEPS, "score")
    if target.dataset not in worlds.WORLDS:
        raise UserError(
            f"{target.dataset} has no anomalies, expected one of {', '.join(worlds.WORLDS)}"
        )
    validation, test = (_scored(target, part) for part in ("validation", "test"))
    choices = [(name, window) for name in Scores._fields for window in WINDOWS]
    name, window = max(choices, key=lambda choice: min(_by_sequence(validation, *choice).values()))
    scores, seen, _ = validation["normal"]
    threshold = float(np.quantile(getattr(scores, name)[judged(seen)], LEVEL))
    by_sequence = _by_sequence(test, name, window)
    normal, observed = getattr(test["normal"][0], name), test["normal"][1]
    numbers = {
        "world": target.dataset,
        "sequences": len(observed),
        "score": name,
        "window": window,
        "validation_auroc": _by_sequence(validation, name, window),
        "threshold": threshold,
        "quantile": LEVEL,
        "false_alarms": float(np.mean(normal[judged(observed)] < threshold)),
        "false_alarms_of_long_films": _long_false_alarms(target, name, threshold),
        "kinds": {},
    }
    rows = []
    for kind in worlds.KINDS:
        scores, _, anomalous = test[kind]
        found = getattr(scores, name)
        kept = anomalous & judged(observed)
        first = kept & (np.cumsum(kept, axis=1) <= FIRST)
        measures = {
            "sequence_auroc": by_sequence[kind],
            "first_frames_auroc": auroc(normal[first], found[first]),
            "frame_auroc": auroc(normal[kept], found[kept]),
            "frames_flagged": float(np.mean(found[kept] < threshold)),
        }
        numbers["kinds"][kind] = measures
        rows.append([kind, *measures.values()])
    picture = _examples(target, test, name, threshold)
    return Report(numbers, ["kind", *measures], rows, picture)


def _injected(target, part, kind):
    """A part of the data with anomalies; the seed differs between parts and kinds."""
    data = getattr(target.splits, part)
    seed = 100 * ("validation", "test").index(part) + worlds.KINDS.index(kind)
    return worlds.inject(target.dataset, kind, data, seed)


def _scored(target, part):
    """Kind, and "normal" -> scores, mask ``[N, T]`` of seen frames, and of anomalous ones."""
    data = getattr(target.splits, part)
    nothing = np.zeros(data.observed.shape, bool)
    scored = {"normal": (frame_scores(target.model, data), data.observed, nothing)}
    for kind in worlds.KINDS:
        found = _injected(target, part, kind)
        scores = frame_scores(target.model, found.data)
        scored[kind] = scores, data.observed, found.anomalous
    return scored


def _long_false_alarms(target, name, threshold):
    """Share of flagged frames of untouched films, longer than those of the training.

    One number for each ``STRETCH`` frames after the warm-up; none where there are no such films.
    """
    films = target.long_test(LONG)
    if films is None:
        return []
    films = films.select(slice(0, LONG_SEQUENCES))
    values = getattr(frame_scores(target.model, films), name)[:, WARM_UP:]
    stretches = range(0, values.shape[1], STRETCH)
    return [float(np.mean(values[:, t : t + STRETCH] < threshold)) for t in stretches]


def _by_sequence(scored, name, window):
    """Kind -> AUROC of whole sequences against the untouched ones."""
    lowest = {
        kind: lowest_mean(getattr(scores, name), observed, window)
        for kind, (scores, observed, _) in scored.items()
    }
    return {kind: auroc(lowest["normal"], lowest[kind]) for kind in worlds.KINDS}


def _examples(target, test, name, threshold):
    """The first sequence with each kind of anomaly, frames below the threshold in a red border."""
    strips = {}
    for kind in worlds.KINDS:
        data = _injected(target, "test", kind).data.select(slice(0, 1))
        scores, observed, _ = test[kind]
        flagged = judged(observed)[0] & (getattr(scores, name)[0] < threshold)
        framed = images.framed(data.unit_frames[0], observed[0], flagged=flagged)
        strips[kind] = np.concatenate(list(framed), axis=1)
    return charts.captioned(strips)
