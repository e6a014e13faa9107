"""What a trained model is worth, in one word and one number a question.

Errors are root mean squares over the pixels that change within a sequence, as shares of these
pixels' standard deviation: 0 is perfect, 1 no better than a grey mean. So thin and grey objects
count, and a still background does not.

The questions, in the order in which they are asked; the first one that is answered badly gives the
word, and what to try:

======================  ==================  ==============================================  ========
word                    number              question                                        bad
======================  ==================  ==============================================  ========
``too_few_sequences``   ``sequences``       are there enough test sequences to say?         < 10
``collapsed``           ``information``     do encodings say anything of frames?            < 0.5
``poor_reconstruction`` ``reconstruction``  are seen frames drawn well?                     > 0.35
``no_dynamics``         ``to_last_frame``   is a gap filled in better than by its last      > 0.75
                                            frame before it?
``no_smoothing``        ``to_filtering``    is smoothing better than filtering?             >= 1
``poor_generation``     ``generation``      do generated frames vary as real ones?          < 0.5
``good``
======================  ==================  ==============================================  ========

Where filtering errs by less than 5 %, frames after a gap have nothing to add, and the question
about smoothing is not asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

from kvae_tf.data import SequenceData, gap, pixel_moments
from kvae_tf.evaluation import compiled_queries
from kvae_tf.evaluation.imputation import Gap, last_seen
from kvae_tf.evaluation.masked_batches import also_known, masked_batches
from kvae_tf.models.contract import VideoModel

GAP = 5  # frames
FEWEST = 10  # sequences
_LEAST_ERROR = 0.05  # of filtering, of which smoothing should take something away
_LEAST_CHANGE = 0.02  # standard deviation of a pixel within a sequence
_SHARE_OF_MOST = 0.1  # of that of the pixel that changes most


class Questions(NamedTuple):
    """The numbers behind a verdict; NaN where a model cannot answer.

    Attributes:
      sequences: number of test sequences, or of videos' windows.
      information: nats that an encoding says of its frame, the sum over its entries of
        ½ log(1 + Var[mean] / E[variance]).
      reconstruction: relative error of seen frames.
      smoothing: relative error of the middle frame of a gap of five, filled in by the model's best
        method.
      filtering: the same, filled in from earlier frames only.
      last_frame: the same, the last frame before the gap repeated.
      to_last_frame: ``smoothing`` / ``last_frame``.
      to_filtering: ``smoothing`` / ``filtering``; NaN, too, where ``filtering`` is below 0.05.
      generation: standard deviation of generated frames' changing pixels as a share of real ones'.
    """

    sequences: int
    information: float
    reconstruction: float
    smoothing: float
    filtering: float
    last_frame: float
    to_last_frame: float
    to_filtering: float
    generation: float


class Answer(NamedTuple):
    """A question of the verdict and its answer.

    Attributes:
      question: in words.
      value: the number, as people read it.
      limit: what a good number is, in words.
      is_bad: whether the number is beyond its limit.
    """

    question: str
    value: str
    limit: str
    is_bad: bool


class _Rule(NamedTuple):
    """A question: its number, whether that is bad, its words, its format, and what may help."""

    number: str
    is_bad: Callable[[float], bool]
    question: str
    limit: str
    form: Callable[[float], str]
    advice: tuple[str, ...]


def _percent(share):
    return "an unknown share" if math.isnan(share) else f"{100 * share:.0f} %"


def _nats(value):
    return f"{value:.1f} nats"


# By word, in the order in which the questions are asked.
_RULES = {
    "too_few_sequences": _Rule(
        "sequences",
        lambda x: x < FEWEST,
        "Are there enough test sequences to say?",
        f"at least {FEWEST}",
        lambda x: f"{x:.0f}",
        ("--stride smaller", "more sequences: the test part is too small to tell"),
    ),
    "collapsed": _Rule(
        "information",
        lambda x: x < 0.5,
        "What do encodings say of their frame?",
        "at least 0.5 nats",
        _nats,
        ("--objective=constrained", "a larger --reconstruction_weight"),
    ),
    "poor_reconstruction": _Rule(
        "reconstruction",
        lambda x: x > 0.35,
        "Error of seen frames, of the moving pixels' standard deviation",
        "at most 35 %",
        _percent,
        (
            "--encoding_size larger, with twice as large a --latent_size",
            "--state_size larger",
            "more --epochs",
        ),
    ),
    "no_dynamics": _Rule(
        "to_last_frame",
        lambda x: x > 0.75,
        "Error of hidden frames, of that of the last frame repeated",
        "at most 75 %",
        _percent,
        ("--objective=constrained", "a smaller --reconstruction_weight"),
    ),
    "no_smoothing": _Rule(
        "to_filtering",
        lambda x: x >= 1.0,
        "Error of hidden frames, of that from earlier frames only",
        "below 100 %",
        _percent,
        ("--missing_rate=0.8 --mixed_rates, so that training sees gaps",),
    ),
    "poor_generation": _Rule(
        "generation",
        lambda x: x < 0.5,
        "Spread of generated frames, of that of real ones",
        "at least 50 %",
        _percent,
        ("--learn_initial and --learn_noise", "more --epochs"),
    ),
}
WORDS = (*_RULES, "good")


def word(questions: Questions) -> str:
    """The verdict, out of ``WORDS``; questions that a model cannot answer are not asked."""
    for name, rule in _RULES.items():
        value = getattr(questions, rule.number)
        if not math.isnan(value) and rule.is_bad(value):
            return name
    return "good"


def advice(verdict: str, flags: Collection[str] | None = None) -> str:
    """The flags to try next, in words; empty where the verdict is good.

    Args:
      verdict: out of ``WORDS``.
      flags: names of the flags that the model has; None: any (default).
    """
    ways = _RULES[verdict].advice if verdict in _RULES else ()
    if flags is not None:
        ways = [way for way in ways if set(re.findall(r"--(\w+)", way)) <= set(flags)]
    return ", or ".join(ways)


def ask(model: VideoModel, data: SequenceData) -> Questions:
    """The numbers behind a verdict.

    Args:
      model: a model that can ``impute``.
      data: test sequences of at least 3 frames.
    """
    changing, std = changing_pixels(data)
    start = max(1, (data.num_steps - GAP) // 2)
    hidden = Gap(start, min(start + GAP, data.num_steps - 1))
    middle = (hidden.start + hidden.stop - 1) // 2
    best = model.imputation_methods[0]
    fill, decode = compiled_queries.fill(model), compiled_queries.decode(model)
    moments = compiled_queries.encoding_moments(model)
    errors = {name: _MeanSquare() for name in ("seen", *model.imputation_methods, "last")}
    means, variances = [], []
    for batch, rows in masked_batches(data, gap(len(data), data.num_steps, *hidden)):
        kept = rows.stop - rows.start
        frames, observed, controls = batch["frames"], batch["observed"], batch["controls"]
        known, counts = batch["known"][:kept] > 0, batch.get("num_objects")
        of = also_known(model, batch)

        def add(name, guess, steps, frames=frames, kept=kept):
            difference = (guess[:kept] - frames[:kept])[steps][..., changing]
            errors[name].add(difference)

        at_middle = np.zeros_like(known)
        at_middle[:, middle] = known[:, middle]
        for method in model.imputation_methods:
            a = fill(frames, observed, controls, method=method, **of)
            guess = decode(a, num_objects=counts).numpy()
            add(method, guess, at_middle)
            if method == best:
                add("seen", guess, observed[:kept] > 0)
        add("last", last_seen(frames, observed), at_middle)
        mean, spread = moments(frames, batch["known"], controls, **of)
        means.append(mean.numpy()[:kept][known])
        variances.append(np.square(spread.numpy()[:kept][known]))
    relative = {name: _ratio(error.root(), std) for name, error in errors.items()}
    filtering = relative.get("filter", math.nan)
    can_gain = best != "filter" and not filtering < _LEAST_ERROR
    return Questions(
        sequences=len(data),
        information=_information(np.concatenate(means), np.concatenate(variances)),
        reconstruction=relative["seen"],
        smoothing=relative[best],
        filtering=filtering,
        last_frame=relative["last"],
        to_last_frame=_ratio(relative[best], relative["last"]),
        to_filtering=_ratio(relative[best], filtering) if can_gain else math.nan,
        generation=_generated(model, data, changing, std),
    )


def changing_pixels(data: SequenceData) -> tuple[np.ndarray, float]:
    """The pixels that change within sequences ``[H, W, C]`` bool; and their standard deviation.

    The standard deviation is the root mean square over these pixels and all seen frames of the
    difference from the pixel's mean.

    Args:
      data: any sequences.
    """
    moments = pixel_moments(data)
    change = np.sqrt(moments.within)
    changing = change >= max(_LEAST_CHANGE, _SHARE_OF_MOST * change.max())
    if not changing.any():  # a still film: all count
        changing = np.ones_like(changing)
    return changing, float(np.sqrt(moments.variance[changing].mean()))


class _MeanSquare:
    def __init__(self):
        self.sum, self.count = 0.0, 0

    def add(self, values):
        self.sum += float(np.square(values, dtype=np.float64).sum())
        self.count += values.size

    def root(self):
        return math.sqrt(self.sum / self.count) if self.count else math.nan


def _information(means, variances):
    """Nats that encodings ``[L, m]`` say, as those of Gaussian channels."""
    noise = variances.mean(axis=0, dtype=np.float64)
    signal = means.var(axis=0, dtype=np.float64)
    # Without noise any signal says more than is asked for.
    ratio = np.divide(signal, noise, out=np.where(signal > 0, 1e12, 0.0), where=noise > 0)
    return float(0.5 * np.log1p(ratio).sum())


def _generated(model, data, changing, std):
    """Spread of generated frames as a share of the real ones'; NaN of a model without."""
    if "generate" not in model.supports:
        return math.nan
    count = min(len(data), 100)
    controls = data.controls[:count] if data.control_size else None
    counts = None if data.num_objects is None else data.num_objects[:count]
    frames = compiled_queries.generate(model)(
        count, data.num_steps, controls, seed=model.noise_seed, num_objects=counts
    ).frames
    pixels = frames.numpy()[..., changing].reshape(-1, int(changing.sum()))
    return _ratio(float(np.sqrt(pixels.var(axis=0, dtype=np.float64).mean())), std)


def _ratio(value, other):
    return value / other if other > 0 else math.nan


def judge(model: VideoModel, data: SequenceData) -> dict[str, object]:
    """The verdict as metrics: ``verdict``, a word out of ``WORDS``, and ``verdict/<number>``.

    Numbers of questions that the model cannot answer are left out.

    Args:
      model: a model that can ``impute``.
      data: test sequences of at least 3 frames.
    """
    questions = ask(model, data)
    numbers = {f"verdict/{name}": value for name, value in questions._asdict().items()}
    known = {name: value for name, value in numbers.items() if not math.isnan(value)}
    return {"verdict": word(questions), **known}


def answers(metrics: Mapping[str, object]) -> list[Answer]:
    """The questions that a model could answer, in their order; empty where metrics hold none.

    Args:
      metrics: what ``judge`` gives, among other metrics.
    """
    known = [
        (rule, metrics[f"verdict/{rule.number}"])
        for rule in _RULES.values()
        if isinstance(metrics.get(f"verdict/{rule.number}"), (int, float))
    ]
    return [
        Answer(rule.question, rule.form(value), rule.limit, bool(rule.is_bad(value)))
        for rule, value in known
    ]


def paragraph(metrics: Mapping[str, object], flags: Collection[str] | None = None) -> str:
    """The verdict in plain words; empty where metrics hold none.

    Args:
      metrics: what ``judge`` gives, among other metrics.
      flags: names of the flags that the model has, as ``advice`` takes them.
    """
    found = metrics.get("verdict")
    if found not in WORDS:
        return ""

    def number(name):
        return float(metrics.get(f"verdict/{name}", math.nan))

    smoothing, last, filtering = map(number, ("smoothing", "last_frame", "filtering"))
    sentences = [
        f"{_TITLES[found]}",
        f"Seen frames are drawn with {_percent(number('reconstruction'))} of the moving pixels' "
        "standard deviation as error.",
        f"In the middle of a gap of {GAP} frames it is {_percent(smoothing)}; "
        f"{_percent(filtering)} from earlier frames only; {_percent(last)} if the last frame is "
        "repeated.",
        f"Encodings say {number('information'):.1f} nats of their frame.",
    ]
    if not math.isnan(number("generation")):
        sentences.append(
            f"Generated frames vary by {_percent(number('generation'))} of what real ones do."
        )
    ways = advice(found, flags)
    if ways:
        sentences.append(f"To try next: {ways}.")
    return " ".join(sentences)


_TITLES = {
    "too_few_sequences": "Too few test sequences to say.",
    "collapsed": "Collapsed: the encodings say nothing of the frames.",
    "poor_reconstruction": "Seen frames are drawn badly.",
    "no_dynamics": "No dynamics were learned: repeating the last frame is about as good.",
    "no_smoothing": "Later frames do not help: smoothing is no better than filtering.",
    "poor_generation": "Hidden frames are filled in well, but generated ones hardly vary.",
    "good": "Good: hidden frames are filled in well.",
}
