"""A set of image sequences of equal length in memory, made from checked arrays."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from kvae_tf.data import number_checks
from kvae_tf.errors import UserError

FRACTIONS = (0.8, 0.1, 0.1)
_EQUAL = 0.05  # by which the intervals of equally spaced frames may differ, a share of the longest


class Shards(Protocol):
    """Sequences on disk, see ``kvae_tf.data.records``.

    Attributes:
      is_complete: whether no frame is missing.
    """

    is_complete: bool

    def __len__(self) -> int: ...

    def steps_per_pass(self, batch_size: int) -> int: ...

    def batches(self, batch_size: int, seed: int, start_step: int, rows: slice): ...


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceData:
    """``N`` sequences of ``T`` frames, with their controls and true states.

    Build it with ``SequenceData.from_arrays``, which checks everything; the constructor checks
    nothing.

    >>> images = np.zeros((8, 15, 16, 16), np.uint8)
    >>> data = SequenceData.from_arrays(images, controls=np.zeros((8, 15, 2)))
    >>> len(data), data.num_steps, data.frame_shape, data.control_size
    (8, 15, (16, 16, 1), 2)

    Attributes:
      frames: ``[N, T, H, W, C]``, uint8, or float32 in [0, 1]; no NaN.
      observed: ``[N, T]`` float32, 1 = seen. An unseen frame may hold its true pixels, for
        evaluation; a frame that the file lacks (NaN) is 0.
      controls: ``[N, T, U]`` float32; ``controls[:, t]`` acts from frame t to t+1. U may be 0.
      states: ``[N, T, S]`` float32, the true states of the world; None where they are unknown.
      state_names: names of the S states.
      num_objects: ``[N]`` int32, number of objects in a sequence; None where it is unknown.
      is_vector: whether frames are vectors: ``[N, T, 1, D, 1]`` float32 with any values, NaN where
        an entry is missing.
      records: shards on disk, of which these sequences are a sample and which training streams;
        None: all sequences are in memory.
      times: ``[N, T]`` float64, seconds, strictly increasing; None: frames are equally spaced.
    """

    frames: np.ndarray
    observed: np.ndarray
    controls: np.ndarray
    states: np.ndarray | None = None
    state_names: tuple[str, ...] = ()
    num_objects: np.ndarray | None = None
    is_vector: bool = False
    records: Shards | None = None
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def num_steps(self) -> int:
        """Number ``T`` of frames of a sequence."""
        return self.frames.shape[1]

    @property
    def num_sequences(self) -> int:
        """Number of sequences: ``N``, or with shards the number in all of them."""
        return len(self.records or self)

    @property
    def is_complete(self) -> bool:
        """Whether no frame is missing."""
        return self.records.is_complete if self.records else bool(self.observed.all())

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """``(H, W, C)`` of a frame."""
        return self.frames.shape[2:]

    @property
    def control_size(self) -> int:
        """Number ``U`` of controls; 0: none."""
        return self.controls.shape[2]

    @property
    def has_times(self) -> bool:
        """Whether it is known when each frame was taken."""
        return self.times is not None

    @property
    def elapsed(self) -> np.ndarray | None:
        """Seconds since the first frame of a sequence, ``[N, T]`` float32; None without times."""
        return None if self.times is None else _elapsed(self.times)

    def select(self, index: np.ndarray | slice) -> SequenceData:
        """The sequences at ``index``: a slice, an array of integers, or a boolean array ``[N]``."""
        if not isinstance(index, slice):
            index = np.atleast_1d(index)
        return dataclasses.replace(
            self,
            frames=self.frames[index],
            observed=self.observed[index],
            controls=self.controls[index],
            states=None if self.states is None else self.states[index],
            num_objects=None if self.num_objects is None else self.num_objects[index],
            records=None,
            times=None if self.times is None else self.times[index],
        )

    def of_fewest_objects(self) -> SequenceData:
        """The sequences with the fewest objects; all of them where ``num_objects`` is None."""
        counts = self.num_objects
        return self if counts is None else self.select(counts == counts.min())

    @property
    def unit_frames(self) -> np.ndarray:
        """``frames`` as float32 in [0, 1]."""
        return as_unit(self.frames)

    def binarised(self) -> SequenceData:
        """The same sequences with pixels of 0 or 255, uint8: 255 where a pixel is above one half.

        Raises:
          UserError: the frames are vectors, or the sequences are in shards.
        """
        if self.is_vector:
            raise UserError("--binarise is for pictures, expected vectors without it")
        if self.records:
            raise UserError("--binarise is for data in memory, expected shards without it")
        half = 127 if self.frames.dtype == np.uint8 else 0.5
        return dataclasses.replace(self, frames=np.where(self.frames > half, 255, 0).astype("u1"))

    @classmethod
    def from_arrays(
        cls,
        images,
        controls=None,
        states=None,
        observed=None,
        state_names: Sequence[str] = (),
        num_objects=None,
        source: str = "data",
        times=None,
    ) -> SequenceData:
        """Sequences from arrays, checked.

        A frame with any NaN or masked pixel counts as missing: ``observed`` 0 and pixels 0. Pixels
        of frames with ``observed`` 0 are kept if they are valid, else set to 0. A sequence may have
        no seen frame, if another one has some. Only ``images`` may be a NumPy masked array.

        Args:
          images: ``[N, T, H, W]`` or ``[N, T, H, W, C]``, C being 1 or 3; uint8 (0 to 255), bool,
            or any float in [0, 1]; NaN frames and NumPy masked arrays allowed.
          controls: ``[N, T, U]`` or ``[N, T]`` real numbers, one row for each frame; None: none.
          states: ``[N, T, S]`` or ``[N, T]`` real numbers; None: unknown.
          observed: ``[N, T]`` of 0 and 1 (or bool), 1 = seen; None: all are seen.
          state_names: ``S`` names; ``state_0`` … by default.
          num_objects: ``[N]`` positive integers; None: unknown.
          source: name of the arrays' source in error messages.
          times: ``[N, T]`` seconds at which the frames were taken, strictly increasing, from any
            origin; None: frames are equally spaced.

        Raises:
          UserError: an array has a wrong dtype, shape or value, or no frame is seen; the message
            names it.
        """
        frames, missing = _frames(images, source)
        observed = _observed(observed, frames.shape[:2], source) * ~missing
        frames = _valid_pixels(frames, observed, missing, source)
        states = None if states is None else _signals("states", states, frames.shape[:2], source)
        data = cls(
            frames=frames,
            observed=observed,
            controls=np.zeros((*frames.shape[:2], 0), np.float32)
            if controls is None
            else _signals("controls", controls, frames.shape[:2], source),
            states=states,
            state_names=_state_names(state_names, states, source),
            num_objects=None
            if num_objects is None
            else _counts("num_objects", num_objects, len(frames), source),
            times=None if times is None else _times(times, frames.shape[:2], source),
        )
        check_seen(data, source)
        return data


def as_unit(frames: np.ndarray) -> np.ndarray:
    """Frames as float32 in [0, 1].

    Args:
      frames: array of any shape, uint8 (0 to 255) or float in [0, 1].
    """
    scaled = np.asarray(frames, np.float32)
    return scaled / 255.0 if frames.dtype == np.uint8 else scaled


def from_vectors(vectors, source: str = "data", **known) -> SequenceData:
    """Sequences of vectors.

    Args:
      vectors: ``[N, T, D]`` real numbers; NaN or masked where an entry is missing.
      source: name of the arrays' source in error messages.
      **known: ``controls``, ``states``, ``observed``, ``state_names``, ``num_objects`` and
        ``times``, see ``SequenceData.from_arrays``.

    Raises:
      UserError: an array has a wrong dtype, shape or value, or no entry is seen; the message names
        it.
    """
    masked = np.ma.getmaskarray(vectors) if np.ma.is_masked(vectors) else False
    vectors = _array("vectors", vectors, source)
    if vectors.ndim != 3 or not vectors.size:
        raise UserError(
            f"{source}: vectors has shape {vectors.shape}; expected [N, T, D], none of them 0"
        )
    with np.errstate(over="ignore"):  # checked below
        vectors = np.where(masked, np.nan, vectors.astype(np.float32)).astype(np.float32)
    if np.isinf(vectors).any():
        raise UserError(f"{source}: vectors holds infinities; expected numbers, or NaN if missing")
    blank = np.zeros((*vectors.shape[:2], 1, 1), np.uint8)
    data = SequenceData.from_arrays(blank, source=source, **known)
    nothing = np.isnan(vectors).all(axis=2)
    data = dataclasses.replace(
        data,
        frames=np.where(nothing[..., np.newaxis], np.float32(0), vectors)[:, :, None, :, None],
        observed=data.observed * ~nothing,
        is_vector=True,
    )
    check_seen(data, source)
    return data


def check_seen(data: SequenceData, source: str) -> None:
    """Raises a ``UserError`` where no frame of any sequence is seen.

    Args:
      data: the sequences.
      source: their name, for the message.
    """
    if not data.observed.any():
        raise UserError(
            f"{source}: all {data.observed.size} frames of {len(data)} sequences are missing; "
            "expected at least one that is seen"
        )


class Splits(NamedTuple):
    """The three parts of a data set.

    Attributes:
      train: sequences that a model is trained on.
      validation: sequences for the choice of epochs and settings.
      test: sequences for reported results.
    """

    train: SequenceData
    validation: SequenceData
    test: SequenceData


def check_alike(train: SequenceData, part: SequenceData, name: str, source: str) -> None:
    """Raises a ``UserError`` where two parts differ in shapes, or in what is known of objects.

    Args:
      train: the training part.
      part: another part; its number of sequences and of frames may differ.
      name: name of the other part, for the message.
      source: name of the data, for the message.
    """
    for what in ("frame_shape", "control_size", "is_vector", "has_times"):
        expected, value = getattr(train, what), getattr(part, what)
        if expected != value:
            raise UserError(
                f"{source}: the {name} part has {what} {value}; expected {expected}, as in train"
            )
    counts, theirs = train.num_objects, part.num_objects
    if (counts is None) != (theirs is None):
        raise UserError(
            f"{source}: the {name} part {'has' if counts is None else 'lacks'} num_objects; "
            f"expected {'none' if counts is None else 'it'}, as in train"
        )
    if counts is not None and theirs.max() > counts.max():
        raise UserError(
            f"{source}: the {name} part has up to {theirs.max()} objects; expected at most "
            f"{counts.max()}, as in train"
        )


def split(data: SequenceData, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> Splits:
    """Splits shuffled sequences into train, validation and test.

    Args:
      data: all sequences.
      fractions: shares of train, validation and test, which add up to 1; 0.8, 0.1 and 0.1 by
        default.
      seed: seed of the shuffle, a non-negative int; 0 by default.

    Raises:
      UserError: ``fractions`` are no shares, or leave a part empty or without a seen frame; or
        another part has more objects than train.
    """
    shares = dict(zip(Splits._fields, number_checks.fractions(fractions), strict=True))
    parts = partition(data, shares, seed)
    for name in ("validation", "test"):
        check_alike(parts["train"], parts[name], name, "a random split")
    return Splits(**parts)


def partition(data: SequenceData, shares: dict[str, float], seed: int) -> dict[str, SequenceData]:
    """Splits shuffled sequences into named parts in proportion to ``shares``.

    Fewer sequences than parts, one film or table above all, are cut in time (``split_in_time``).

    Args:
      data: all sequences.
      shares: name of a part -> its share, not negative.
      seed: seed of the shuffle, a non-negative int.

    Raises:
      UserError: a part gets no sequence, or none with a seen frame; the message names it.
    """
    rng = np.random.default_rng(number_checks.integer("seed", seed, minimum=0))
    total = sum(shares.values())
    if total <= 0.0:
        raise UserError(f"the shares of {', '.join(shares)} are all 0; expected a positive share")
    if len(data) < len(shares):
        return split_in_time(data, shares)
    order = rng.permutation(len(data))
    ends = np.rint(np.cumsum(list(shares.values())) / total * len(data)).astype(int)
    parts = dict(zip(shares, np.split(order, ends[:-1]), strict=True))
    for name, index in parts.items():
        if not len(index):
            raise UserError(
                f"the {name} split is empty: {len(data)} sequences at a share of "
                f"{shares[name] / total:.3g}; expected at least one sequence in every split"
            )
    chosen = {name: data.select(index) for name, index in parts.items()}
    for name, part in chosen.items():
        check_seen(part, f"the {name} split")
    return chosen


def split_in_time(data: SequenceData, shares: dict[str, float]) -> dict[str, SequenceData]:
    """Cuts sequences in time into named parts in proportion to ``shares``.

    Each sequence is cut by its own length, without the missing steps at its end; in each part, the
    shorter pieces are padded with missing steps.

    Args:
      data: all sequences.
      shares: name of a part -> its share, not negative; in the order of time.

    Raises:
      UserError: a part gets no step, of pictures fewer than two, or none that is seen; the message
        names it.
    """
    total = sum(shares.values())
    least = 1 if data.is_vector else 2
    steps = np.arange(data.num_steps)
    ends = np.array([steps[seen > 0][-1] + 1 if seen.any() else 0 for seen in data.observed])
    cuts = np.rint(np.cumsum([0.0, *shares.values()]) / total * ends[:, np.newaxis]).astype(int)
    parts = {}
    for i, name in enumerate(shares):
        lengths = cuts[:, i + 1] - cuts[:, i]
        if lengths.max() < least:
            raise UserError(
                f"the {name} part gets {lengths.max()} of {ends.max()} steps, at a share of "
                f"{shares[name] / total:.3g}; expected at least {least} in every part"
            )
        rows = cuts[:, i, np.newaxis] + np.arange(lengths.max())
        inside = np.arange(lengths.max()) < lengths[:, np.newaxis]
        rows = np.minimum(rows, data.num_steps - 1)

        def pick(x, rows=rows):
            return None if x is None else x[np.arange(len(x))[:, np.newaxis], rows]

        seen = pick(data.observed) * inside
        frames = pick(data.frames)
        frames[~inside] = 0
        parts[name] = dataclasses.replace(
            data, frames=frames, observed=seen, controls=pick(data.controls),
            states=pick(data.states), times=continued(pick(data.times), inside),
        )  # fmt: skip
        check_seen(parts[name], f"the {name} part")
    return parts


def are_unequal(times: np.ndarray | None) -> bool:
    """Whether intervals between frames differ by more than a twentieth of the longest.

    Args:
      times: ``[N, T]``, seconds; None: unknown, which counts as equal.
    """
    intervals = np.zeros(0) if times is None else np.diff(times, axis=1)
    return bool(intervals.size and np.ptp(intervals) > _EQUAL * np.max(intervals))


def continued(times: np.ndarray | None, inside: np.ndarray) -> np.ndarray | None:
    """Times in which padding goes on at the mean interval of all.

    Args:
      times: ``[N, T]``; None: there are none.
      inside: ``[N, T]`` bool, False in the padding at the ends.
    """
    if times is None:
        return None
    steps = np.diff(times, axis=1)[inside[:, 1:]]
    last = np.max(times, axis=1, where=inside, initial=-np.inf, keepdims=True)
    last = np.where(np.isfinite(last), last, 0.0)  # of a sequence without a step in this part
    interval = steps.mean() if len(steps) else 1.0
    return np.where(inside, times, last + interval * np.cumsum(~inside, axis=1))


def _array(name, value, source):
    """``value`` as an array of real numbers; images and vectors without their mask."""
    listed = isinstance(value, (list, tuple)) and any(map(np.ma.is_masked, value))
    if listed or (np.ma.is_masked(value) and name not in ("images", "vectors")):
        raise UserError(
            f"{source}: {name} holds masked entries; expected a mask on images or vectors only, "
            "and these as one array"
        )
    try:
        array = np.asarray(value)
    except ValueError:  # NumPy's word for nested lists of unequal lengths
        raise UserError(f"{source}: {name} is ragged; expected one rectangular array") from None
    if array.dtype.kind not in "buif":
        raise UserError(f"{source}: {name} has dtype {array.dtype}; expected real numbers")
    return array


def _frames(images, source):
    """``images`` as uint8 or float32 ``[N, T, H, W, C]``, and where frames are missing ``[N, T]``.

    Missing are frames with a masked or NaN pixel.
    """
    frames = _array("images", images, source)
    if frames.dtype != np.uint8 and frames.dtype.kind not in "bf":
        raise UserError(
            f"{source}: images has dtype {frames.dtype}; "
            "expected uint8 (0 to 255), bool, or float in [0, 1]"
        )
    if frames.ndim not in (4, 5) or not frames.size:
        raise UserError(
            f"{source}: images has shape {frames.shape}; "
            "expected [N, T, H, W] or [N, T, H, W, C], none of them 0"
        )
    if frames.ndim == 4 and frames.shape[3] == 3:
        raise UserError(
            f"{source}: images has shape {frames.shape}, which looks like one film [T, H, W, C]; "
            "expected [N, T, H, W] or [N, T, H, W, C]: put an axis of length 1 before or after it"
        )
    if frames.ndim == 5 and frames.shape[4] not in (1, 3):
        first = frames.shape[2] in (1, 3)
        raise UserError(
            f"{source}: images has shape {frames.shape}, {frames.shape[4]} channels; expected "
            "[N, T, H, W, C] with 1 or 3"
            + (": transpose it, the channels come last" if first else "")
        )
    num_sequences, num_steps = frames.shape[:2]
    missing = np.zeros((num_sequences, num_steps), bool)
    if np.ma.is_masked(images):
        missing |= np.ma.getmaskarray(images).reshape(num_sequences, num_steps, -1).any(axis=2)
    if frames.dtype == bool:
        frames = frames.astype(np.uint8) * np.uint8(255)
    elif frames.dtype == np.uint8:
        if frames.max() == 1:
            warnings.warn(
                f"{source}: images is uint8 but nowhere above 1, which means nearly black; "
                "binary images are better stored as bool",
                stacklevel=3,
            )
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            frames = frames.astype(np.float32)
            missing |= np.isnan(frames.min(axis=tuple(range(2, frames.ndim))))
    if frames.ndim == 4:
        frames = frames[..., np.newaxis]
    return frames, missing


def _observed(observed, shape, source):
    """``observed`` as float32 ``[N, T]`` of zeros and ones."""
    if observed is None:
        return np.ones(shape, np.float32)
    observed = _array("observed", observed, source)
    if observed.shape != shape:
        raise UserError(
            f"{source}: observed has shape {observed.shape}; expected {shape}, one value a frame"
        )
    wrong = ~((observed == 0) | (observed == 1))
    if wrong.any():
        raise UserError(
            f"{source}: observed holds {observed[wrong][0]}; expected 1 (seen) or 0 (missing) only"
        )
    return observed.astype(np.float32)


def _valid_pixels(frames, observed, missing, source):
    """``frames`` with missing and unseen invalid ones set to 0; seen ones must be in [0, 1]."""
    invalid = missing
    if frames.dtype != np.uint8:
        with np.errstate(invalid="ignore"):
            low, high = frames.min(axis=(2, 3, 4)), frames.max(axis=(2, 3, 4))
        outside = ~((low >= 0) & (high <= 1))
        wrong = np.argwhere(outside & (observed > 0))
        if len(wrong):
            n, t = wrong[0]
            what = (
                f"lies in [{low[n, t]:g}, {high[n, t]:g}]"
                if np.isfinite(low[n, t]) and np.isfinite(high[n, t])
                else "holds infinities"
            )
            raise UserError(
                f"{source}: images {what} in sequence {n}, frame {t}; "
                "expected floats in [0, 1] (store 0 to 255 as uint8), or NaN for a missing frame"
            )
        invalid = missing | outside
    if not invalid.any():
        return frames
    return np.where(invalid[..., None, None, None], frames.dtype.type(0), frames)


def _signals(name, values, shape, source):
    """Controls or states as float32 ``[N, T, size]``, finite."""
    values = _array(name, values, source)
    if values.ndim not in (2, 3) or values.shape[:2] != shape:
        raise UserError(
            f"{source}: {name} has shape {values.shape}; "
            f"expected ({shape[0]}, {shape[1]}, size), one row a frame"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{source}: {name} holds NaN or infinities; expected finite numbers")
    return values.reshape(*shape, -1)


def _times(values, shape, source):
    """Times as float64 ``[N, T]``, finite and strictly increasing, also as ``elapsed``."""
    values = _array("times", values, source)
    if values.shape != shape:
        raise UserError(
            f"{source}: times has shape {values.shape}; expected {shape}, the seconds of each frame"
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"{source}: times holds NaN or infinities; expected seconds")
    wrong = np.argwhere(np.diff(_elapsed(values), axis=1) <= 0)
    if len(wrong):
        n, t = wrong[0]
        raise UserError(
            f"{source}: times goes from {values[n, t]:.9g} to {values[n, t + 1]:.9g} in sequence "
            f"{n}, frame {t + 1}; expected strictly increasing seconds, which float32 tells apart"
        )
    return values


def _elapsed(times):
    return (times - times[:, :1]).astype(np.float32)


def _state_names(names, states, source):
    """Names of the states, one for each."""
    names = tuple(str(name) for name in np.atleast_1d(np.asarray(names, dtype=object)))
    size = 0 if states is None else states.shape[2]
    if not names:
        return tuple(f"state_{i}" for i in range(size))
    if len(names) != size:
        raise UserError(f"{source}: state_names has {len(names)} names; expected {size}, as states")
    return names


def _counts(name, values, size, source):
    """Positive integers as int32 ``[N]``."""
    values = _array(name, values, source)
    if values.shape != (size,) or values.dtype.kind not in "ui" or values.min() < 1:
        raise UserError(
            f"{source}: {name} is {values.dtype} of shape {values.shape}; expected ({size},) "
            "positive integers, one a sequence"
        )
    return values.astype(np.int32)
