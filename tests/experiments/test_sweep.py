"""Sweeps: points, runs that are resumed or left alone, the table; and a run's report."""

import csv
import html.parser
import json
from pathlib import Path

import numpy as np
import pytest
from commands import run as script

from kvae_tf.errors import UserError
from kvae_tf.experiments import report, sweep


def test_grid_is_every_combination():
    assert sweep.grid("a=1,2;b=x") == [{"a": "1", "b": "x"}, {"a": "2", "b": "x"}]


def test_draws_keep_to_their_ranges_and_their_seed():
    space = "rate=log:1e-4:1e-2;share=uniform:0:1;modes=integer:2:4;kind=mlp,cnn"
    points = sweep.draws(space, 200, seed=1)
    assert points[:5] == sweep.draws(space, 5, seed=1)
    assert points[0] != sweep.draws(space, 1, seed=2)[0]
    rates = np.array([float(point["rate"]) for point in points])
    assert 1e-4 <= rates.min() < 3e-4
    assert 3e-3 < rates.max() <= 1e-2
    assert abs(np.mean(rates < 1e-3) - 0.5) < 0.1
    assert {point["modes"] for point in points} == {"2", "3", "4"}
    assert {point["kind"] for point in points} == {"mlp", "cnn"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sweep.grid("a"), "'a' is no flag with values"),
        (lambda: sweep.grid(""), "the space is empty"),
        (lambda: sweep.grid("a=log:1:2"), "is a range, expected values"),
        (lambda: sweep.draws("a=log:0:1", 1), "a=log:0:1 is no range"),
        (lambda: sweep.draws("a=about:1:2", 1), "is no range"),
        (lambda: sweep.run("x", [{}], Path("x"), jobs=0), "--jobs is 0"),
    ],
)
def test_bad_spaces(call, words):
    with pytest.raises(UserError, match=words):
        call()


class Page(html.parser.HTMLParser):
    """Collects what a page is made of, and that its tags close."""

    def __init__(self):
        super().__init__()
        self.open, self.images, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.slow
def test_sweep_and_report(tmp_path):
    flags = ["--config=configs/pendulum_smoke.cfg", f"--sweep_dir={tmp_path}", "--set=epochs=2"]
    flags += [
        "--set=steps_per_epoch=2",
        "--set=batch_size=8",
        "--set=test_sequences=20",
        "--set=model=vae_rnn",
        "--set=pretraining_epochs=1",
    ]
    result = script("sweep", *flags, "--grid=seed=0;units=8,nonsense")
    assert result.returncode == 1
    assert "1 of 2 runs failed, the first is seed=0,units=nonsense" in result.stderr
    result = script("sweep", *flags, "--grid=seed=0;units=8")
    assert result.returncode == 0, result.stderr
    assert "is finished already" in result.stdout
    with open(tmp_path / "results.csv") as file:
        (row,) = csv.DictReader(file)
    metrics = json.loads((tmp_path / "seed=0,units=8" / "metrics.json").read_text())
    assert row["units"] == "8"
    assert float(row["test/elbo_per_frame"]) == metrics["test/elbo_per_frame"]

    report.write(tmp_path / "seed=0,units=8", tmp_path / "a.html")
    page = Page()
    page.feed((tmp_path / "a.html").read_text())
    assert not page.open
    assert len(page.images) > 6
    assert all(source.startswith("data:image/") for source in page.images)
    text = " ".join(page.text)
    for word in ("vae_rnn on pendulum", "test/elbo_per_frame", "steps_per_epoch", "by epoch"):
        assert word in text
    with pytest.raises(UserError, match="expected the settings of a run"):
        report.write(tmp_path, tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()
