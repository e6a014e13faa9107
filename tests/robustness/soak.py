"""A long test of exports: random calls, valid and invalid, by several threads.

    python tests/robustness/soak.py --minutes=30

Four threads share three exports, called through ``kvae_tf.load`` and by their signatures. Shapes
are of a fixed set, as a server's are: TensorFlow keeps some memory for each shape that it has seen.
It prints a line a minute, and at the end a summary as one line of JSON. The exit status is 1 if

- a thread makes no call for a minute (a hang),
- an answer differs from that of the same call made alone, before the threads started,
- an invalid input is answered, or raises anything but the error for it,
- resident memory grows by more than 50 MiB after the first minute, or the first half of a shorter
  run.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import sys
import threading
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import kvae_tf
from kvae_tf.errors import UserError

SAVED_MODELS = Path(__file__).parents[2] / "saved_models"
EXPORTS = ("pendulum", "dvbf_pendulum", "cannonball")
SHAPES = ((1, 8), (3, 8), (2, 20))  # numbers of sequences and of frames
LIMIT = 60.0  # seconds without a call of a thread
GROWTH = 50.0  # MiB
TOLERANCE = 1e-5  # of the largest number of an answer: sums split in another way among threads


def valid_calls(model) -> dict:
    """Name -> call without arguments that answers with a tuple of arrays."""
    calls = {}
    for B, T in SHAPES:
        given = _given(model, B, T)
        frames = given["frames"]
        hidden = np.ones((B, T), np.float32)
        hidden[:, T // 2] = 0
        masked = given | {"observed": hidden}
        raw = {name: tf.constant(x) for name, x in masked.items()}
        raw.setdefault("controls", tf.constant(0.0))
        size = f"{B}x{T}"
        calls |= {
            f"impute {size}": lambda g=masked: model.impute(**g),
            f"filter {size}": lambda g=given: model.filter(**g),
            f"forecast {size}": lambda g=given: model.forecast(**g, num_steps=3),
            f"generate {size}": lambda B=B, T=T: model.generate(B, T, seed=1),
            f"signature {size}": lambda g=raw: model.module.signatures["impute"](**g),
        }
        if "filter_step" in model.supports:
            calls[f"steps {size}"] = lambda g=given, f=frames: _steps(model, g, f)
    return calls


def invalid_calls(model) -> dict:
    """Name -> call without arguments that has to raise a ``UserError``, or a signature's error."""
    B, T = SHAPES[1]
    given = _given(model, B, T)
    frames = given["frames"]
    calls = {
        "rank": lambda: model.impute(frames[0]),
        "bytes as floats": lambda: model.impute(**given | {"frames": 255 * frames}),
        "mask of 255": lambda: model.impute(**given, observed=np.full((B, T), 255)),
        "controls of another width": lambda: model.impute(
            **given | {"controls": np.zeros((B, T, 9), np.float32)}
        ),
        "no steps": lambda: model.forecast(**given, num_steps=0),
        "encodings": lambda: model.decode(np.zeros((B, T, 99), np.float32)),
        "signature without inputs": lambda: model.module.signatures["impute"](),
        "signature of a type": lambda: model.module.signatures["decode"](
            encodings=tf.zeros([1, 1, model.encoding_size], tf.float64)
        ),
    }
    if model.max_objects:
        calls["objects"] = lambda: model.impute(**given | {"num_objects": np.full(B, 99)})
    if "filter_step" in model.supports:
        calls["state"] = lambda: model.filter_step(
            {}, frames[:, 0], controls=given["controls"][:, 0]
        )
    return calls


def _given(model, B, T):
    """Inputs of a query about sequences, all that the model has; the frames are its own."""
    given = {"frames": model.generate(B, T, seed=0).frames.numpy()}
    if model.control_size:
        rng = np.random.default_rng(0)
        given["controls"] = rng.normal(size=(B, T, model.control_size)).astype(np.float32)
    if model.max_objects:
        given["num_objects"] = 1 + np.arange(B, dtype=np.int32) % model.max_objects
    return given


def _steps(model, given, frames):
    state, found = model.filter_start(len(frames)), []
    for t in range(frames.shape[1]):
        controls = given["controls"][:, t] if "controls" in given else None
        state, step = model.filter_step(state, frames[:, t], controls=controls)
        found.append(step["frames"])
    return (np.stack(found, axis=1),)


def arrays(answer):
    """An answer, a tuple or a dictionary of tensors, as arrays; what is None is left out."""
    parts = [answer[name] for name in sorted(answer)] if isinstance(answer, dict) else answer
    return tuple(np.asarray(part) for part in parts if part is not None)


def resident() -> float:
    """Resident memory of this process in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Soak:
    """The threads and what they found.

    Args:
      models: name -> export.
      seed: seed of the choice of calls.
    """

    def __init__(self, models: dict, seed: int):
        self.calls, self.wrong = {}, {}
        for name, model in models.items():
            self.calls |= {f"{name} {key}": call for key, call in valid_calls(model).items()}
            self.wrong |= {f"{name} {key}": call for key, call in invalid_calls(model).items()}
        self.expected = {name: arrays(call()) for name, call in self.calls.items()}
        self.seed, self.stop = seed, threading.Event()
        self.failures: list[str] = []
        self.answered, self.refused, self.beats, self.difference = {}, {}, {}, {}

    def work(self, thread: int) -> None:
        """Calls until ``stop`` is set; three of four calls are valid."""
        chance = random.Random(self.seed + thread)
        valid, wrong = sorted(self.calls), sorted(self.wrong)
        while not self.stop.is_set():
            name = chance.choice(valid if chance.random() < 0.75 else wrong)
            try:
                if name in self.calls:
                    self._compare(thread, name)
                else:
                    self._refuse(thread, name)
            except Exception as error:  # goes into the summary
                self.failures.append(f"{name}: {type(error).__name__}: {error!s:.200}")
            self.beats[thread] = time.monotonic()

    def _compare(self, thread, name):
        for one, other in zip(arrays(self.calls[name]()), self.expected[name], strict=True):
            scale = max(1.0, np.abs(other).max(initial=0.0))
            difference = float(np.abs(one - other).max(initial=0.0) / scale)
            self.difference[thread] = max(self.difference.get(thread, 0.0), difference)
            if not difference <= TOLERANCE:
                self.failures.append(f"{name}: differs by {difference:g} from the call alone")
        self.answered[thread] = self.answered.get(thread, 0) + 1

    def _refuse(self, thread, name):
        try:
            self.wrong[name]()
        except UserError:
            pass
        except (TypeError, ValueError, tf.errors.InvalidArgumentError):
            if " signature " not in name:
                raise
        else:
            self.failures.append(f"{name}: answered, expected an error")
        self.refused[thread] = self.refused.get(thread, 0) + 1

    def watch(self, minutes: float, num_threads: int) -> dict:
        """Runs the threads; prints a line a minute.

        Returns:
          The summary, by name; ``failures`` is empty where all is well.
        """
        start = time.monotonic()
        settled = start + 60.0 * min(1.0, minutes / 2)
        self.beats = dict.fromkeys(range(num_threads), start)
        threads = [
            threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(num_threads)
        ]
        for thread in threads:
            thread.start()
        first, most, line = None, 0.0, start + 60.0
        while (now := time.monotonic()) < start + 60.0 * minutes and len(self.failures) < 20:
            time.sleep(min(1.0, max(0.0, start + 60.0 * minutes - now)))
            memory = resident()
            if now >= settled:
                first = memory if first is None else first
                most = max(most, memory)
            if now >= line:
                line += 60.0
                print(self._line((now - start) / 60.0, memory), flush=True)
            late = [i for i, beat in self.beats.items() if now - beat > LIMIT]
            if late:
                self.failures.append(f"threads {late} made no call for {LIMIT:g} s: they hang")
                faulthandler.dump_traceback(all_threads=True)
                break
        self.stop.set()
        for thread in threads:
            thread.join(LIMIT)
        growth = 0.0 if first is None else max(most, resident()) - first
        if growth > GROWTH:
            self.failures.append(f"memory grew by {growth:.0f} MiB, expected {GROWTH:g} at most")
        if any(thread.is_alive() for thread in threads) and not self.failures:
            self.failures.append("a thread does not end: it hangs")
        return {
            "minutes": round((time.monotonic() - start) / 60.0, 2),
            "threads": num_threads,
            "answered": sum(self.answered.values()),
            "refused": sum(self.refused.values()),
            "resident_mib": round(resident(), 1),
            "growth_mib": round(growth, 1),
            "largest_difference": max(self.difference.values(), default=0.0),
            "failures": self.failures[:20],
        }

    def _line(self, minutes, memory):
        answered, refused = sum(self.answered.values()), sum(self.refused.values())
        return (
            f"{minutes:.1f} min: {answered} answered, {refused} refused, {memory:.0f} MiB, "
            f"{len(self.failures)} failures"
        )


def main() -> int:
    """The exit status: 0 where all is well, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the test")
    parser.add_argument("--threads", type=int, default=4, help="number of threads")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of calls")
    options = parser.parse_args()
    models = {name: kvae_tf.load(SAVED_MODELS / name / "1") for name in EXPORTS}
    summary = Soak(models, options.seed).watch(options.minutes, options.threads)
    print(json.dumps(summary), flush=True)
    return 1 if summary["failures"] else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # also where a thread hangs
