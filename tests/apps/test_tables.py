"""A table is filled in from the command line."""

import csv
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from commands import run

from kvae_tf.apps import tables
from kvae_tf.data import from_vectors
from kvae_tf.evaluation import masked_batches
from kvae_tf.export.saved_model import export
from kvae_tf.models.contract import Frames
from kvae_tf.models.kvae import LinearKVAE, linear_em


def test_a_table_needs_no_model(folder):
    result = run("impute", f"--table={folder / 't.csv'}", f"--output={folder / 'own'}")
    assert result.returncode == 0, result.stderr[-2000:]
    rows = list(csv.reader((folder / "own" / "filled.csv").read_text().splitlines()))
    assert all(all(row) for row in rows)
    # The second column is close to -2 times the first.
    assert abs(float(rows[4][1]) + 0.5 * float(rows[4][2])) < 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export, and a table of the kind that it was trained on."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(60, 1)), axis=0) * [1.0, -2.0] + 0.1 * rng.normal(size=(60, 2))
    train = from_vectors(x[None])
    model = LinearKVAE(
        train.frame_shape, network="linear", encoding_size=2, latent_size=3, num_modes=1,
        dynamics_network="constant", standardise=[x.mean(0).tolist(), x.std(0).tolist()],
    )  # fmt: skip
    model.build()
    linear_em.initialise(model, train)
    export(model, folder / "model" / "1")
    lines = [["day", "a", "b"]] + [[f"d{t}", *map(str, row)] for t, row in enumerate(x[:12])]
    lines[4][1] = lines[9][2] = ""
    (folder / "t.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    return folder


def test_a_table_is_filled_in(folder):
    result = run("impute", f"--saved_model={folder / 'model' / '1'}",
                 f"--table={folder / 't.csv'}", f"--output={folder / 'out'}")  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    given, filled, stds = (
        list(csv.reader((folder / name).read_text().splitlines()))
        for name in ("t.csv", "out/filled.csv", "out/stds.csv")
    )
    for t, (row, full, std) in enumerate(zip(given, filled, stds, strict=True)):
        for i, (one, other, spread) in enumerate(zip(row, full, std, strict=True)):
            if one:
                assert other == one
                assert i == 0 or t == 0 or float(spread) == 0
            else:
                # The column is close to a multiple of the other one.
                factor = -0.5 if i == 1 else -2.0
                error = float(other) - factor * float(row[3 - i])
                assert abs(error) < 4 * float(spread)
                assert 0 < float(spread) < 4


def test_a_model_in_continuous_time_gets_the_times(tmp_path):
    (tmp_path / "t.csv").write_text("times,a,b\n3,1,2\n3.5,,1\n7,0,1\n")
    asked = {}

    def impute(frames, observed, controls, method, **times):
        asked.update(times)
        return Frames(tf.constant(frames), *[None] * 4, tf.zeros_like(frames))

    model = SimpleNamespace(
        path="model", is_vector=True, frame_shape=(1, 2, 1), control_size=0, impute=impute
    )
    for reads_times in (False, True):
        asked.clear()
        model.reads_times = reads_times
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tables.impute(model, tmp_path / "t.csv")
        assert [str(w.message) for w in caught] == (
            []
            if reads_times
            else [
                "frames are 0.5 to 3.5 seconds apart, but the model does not read times: they "
                "count as equally spaced"
            ]
        )
        assert {name: x.tolist() for name, x in asked.items()} == (
            {"times": [[3.0, 3.5, 7.0]]} if reads_times else {}
        )


def test_what_does_not_fit_is_refused_in_one_line(folder):
    model = f"--saved_model={folder / 'model' / '1'}"
    (folder / "wide.csv").write_text("a,b,c\n1,2,3\n")
    for flags, words in (
        ([], "--video is not set"),
        (["--saved_model="], "--saved_model is not set"),
        ([f"--table={folder / 't.csv'}", "--hide=1-2"], "--hide is 1-2"),
        ([f"--table={folder / 'wide.csv'}"], "has 3 columns of entries, expected 2"),
        ([f"--table={folder / 'none.csv'}"], "cannot read"),
    ):
        result = run("impute", model, *flags, f"--output={folder / 'refused'}")
        assert result.returncode == 1
        assert words in result.stderr
        assert result.stderr.strip().splitlines()[-1].startswith("error: ")
        assert not (folder / "refused").exists()


def test_equally_spaced_times_need_no_model_in_continuous_time(recwarn):
    discrete = SimpleNamespace(reads_times=False)
    masked_batches.warn_of_times(discrete, np.array([[0.1, 0.2, 0.3], [7.0, 7.1, 7.2]]))
    masked_batches.warn_of_times(discrete, np.array([[0.0]]))
    masked_batches.warn_of_times(discrete, None)
    assert not recwarn
