"""The report's page: what it says of a run, in which order, and that no text of a run is markup."""

import html.parser
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from kvae_tf import evaluation
from kvae_tf.data import storage
from kvae_tf.errors import UserError
from kvae_tf.experiments import report
from kvae_tf.studies import bayes_floor
from kvae_tf.visualisation import images, model_figures

HOSTILE = "<img src=x onerror=alert(1)>`${1}`\n</td>\"'&{x}"
FIELDS = ("model", "dataset", "seed", "run_dir", HOSTILE)
SETTINGS = {"model": "kvae", "dataset": "box", "seed": 0, "epochs": 24, "batch_size": 32,
            "units": [128, 128], "missing_rate": 0.5}  # fmt: skip
VERDICT = {
    "verdict": "no_dynamics",
    "verdict/sequences": 300,
    "verdict/information": 6.0,
    "verdict/reconstruction": 0.1,
    "verdict/smoothing": 0.9,
    "verdict/filtering": 0.8,
    "verdict/last_frame": 1.0,
    "verdict/to_last_frame": 0.9,
    "verdict/to_filtering": 1.125,
}
ERRORS = {
    "imputation/smooth_rmse": 0.05,
    "imputation/last_frame_rmse": 0.2,
    "imputation/hidden_frames": [6, 13],
    "gap/frames": [1, 3],
    "gap/smooth": [0.01, 0.02],
    "gap/smooth_se": [0.001, 0.002],
    "gap/last_frame": [0.1, 0.2],
    "test/elbo_per_frame": -12.5,
    "generation/nats": [1.0, 2.0, 3.0],
}


class Page(html.parser.HTMLParser):
    """Collects tags, attributes, text, and the cells of each table row."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.text, self.rows, self.open = set(), set(), [], [], []
        self.marked, self.sources = [], []
        self.feed(path.read_text())
        assert not self.open
        self.all = " ".join(self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.attributes |= values.keys()
        if tag == "img":
            self.sources.append(values["src"])
        if tag == "tr":
            self.rows.append([])
            self.marked.append("beyond" in (values.get("class") or ""))
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture
def page(tmp_path):
    """Metrics, and files of a run beside them -> its page."""

    def made(metrics=None, settings=(), **files):
        run = tmp_path / "run"
        storage.write_json(run / "settings.json", SETTINGS | dict(settings))
        if metrics is not None:
            storage.write_json(run / "metrics.json", metrics)
        for name, values in files.items():
            storage.write_json(run / f"{name}.json", values)
        report.write(run, run / "report.html")
        return Page(run / "report.html")

    return made


def picture(shape, run, *names):
    for name in names:
        images.save_png(run / "saved_model" / f"{name}.png", np.zeros((*shape, 3), np.uint8))


def log(run, part, epochs, offset=0.0):
    drawn = model_figures.Picture(4, 4, images.encode_png(np.zeros((4, 4, 3), np.uint8)))
    writer = tf.summary.create_file_writer(str(run / "logs" / part))
    for epoch in range(epochs):
        with writer.as_default(step=epoch):
            for name, value in {"elbo": epoch, "loss": -epoch, "learning_rate": 0.1}.items():
                tf.summary.scalar(f"epoch_{name}", value + (offset if name == "elbo" else 0.0))
            model_figures.write_summary("imputations", drawn)
    writer.close()


@pytest.mark.parametrize("field", FIELDS, ids=[*FIELDS[:-1], "name"])
def test_every_value_is_escaped(field, tmp_path):
    folder = tmp_path / "<b onclick=x>run"
    folder.mkdir()
    values = {"model": "kvae", "dataset": "box", "seed": 0} | {field: HOSTILE}
    (folder / "settings.json").write_text(json.dumps(values))
    metrics = {HOSTILE: 1.0, "list": [1.0, 2.0], f"imputation/{HOSTILE}_rmse": 1.0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    report.write(folder, folder / "report.html")
    page = Page(folder / "report.html")
    assert not page.tags & {"img", "b", "script"}
    assert page.attributes <= {"lang", "charset", "name", "content", "class"}
    assert HOSTILE in "".join(page.text)


def test_order_and_pictures(page, tmp_path):
    run = tmp_path / "run"
    picture((10, 40), run, "imputations", "reconstructions", "trajectories", "of_mine")
    storage.write_bytes(run / "saved_model" / "generated.gif", images.encode_gif(
        [np.zeros((4, 4, 3), np.uint8)], 10))  # fmt: skip
    log(run, "train", 3)
    log(run, "validation", 3, offset=1.0)
    found = page(VERDICT | ERRORS, time={"seconds": 600.0, "epochs": 24})
    titles = ("Verdict", "Frames", "Errors of hidden frames", "Latent states", "Studies",
              "Other results", "Training", "Settings")  # fmt: skip
    places = [found.text.index(title) for title in titles]
    assert places == sorted(places)
    assert "trained for 10 minutes, 24 epochs" in found.all
    # Five files, a chart of the gaps, two of the training (its loss is minus its bound), one by
    # epoch.
    assert len(found.sources) == 9
    assert sum(source.startswith("data:image/gif") for source in found.sources) == 1
    assert all(source.startswith("data:image/") for source in found.sources)
    assert "script" not in found.tags


def test_verdict(page):
    found = page(VERDICT | ERRORS)
    assert "no dynamics" in found.text
    assert evaluation.paragraph(VERDICT).partition("To try next")[0] in found.all
    bad = [row for row, marked in zip(found.rows, found.marked, strict=True) if marked]
    assert [row[1] for row in bad] == ["90 %", "112 %"]
    assert [row[2] for row in bad] == ["at most 75 %", "below 100 %"]


def test_errors_beside_the_last_frame(page):
    found = page(VERDICT | ERRORS)
    assert ["smoothing", "0.0500", "25 %", "90 %", "90 %"] in found.rows
    assert ["last frame repeated", "0.2000", "100 %", "100 %", "100 %"] in found.rows
    assert ["smoothing", "0.0100 ± 0.0010", "0.0200 ± 0.0020"] in found.rows
    assert ["generation/nats", "1.0000", "2.0000", "3.0000"] in found.rows
    lists = [cell for row in found.rows for cell in row if re.search(r"\d, \d", cell)]
    assert not lists


def test_the_least_error_is_that_of_its_world(page):
    found = page(ERRORS)
    for reference, name in (
        (bayes_floor.floor, "least possible"), (bayes_floor.known_modes, "linear, modes known"),
    ):  # fmt: skip
        values = [f"{value:.4f}" for value in reference("box", "gap", [1, 3])["smooth"]]
        assert [f"smoothing ({name})", *values] in found.rows
    filtering = [f"{value:.4f}" for value in bayes_floor.floor("box", "gap", [1, 3])["filter"]]
    assert ["filtering (least possible)", *filtering] in found.rows
    assert "filtering (linear" not in found.all
    for other in ({"dataset": "polygon"}, {"draw_walls": True}):
        assert "least possible" not in page(ERRORS, other).all


@pytest.mark.parametrize(("metrics", "files", "words"), [
    (ERRORS, {}, "an earlier version evaluated this run"),
    ({"test/elbo_per_frame": 1.0}, {}, "allow no frames to be filled in"),
    ({"imputation/smooth_rmse": 0.1}, {"model": {"is_vector": True}}, "no verdict of vectors"),
], ids=["earlier version", "no imputation", "vectors"])  # fmt: skip
def test_without_a_verdict(metrics, files, words, page):
    found = page(metrics, **files)
    assert words in found.all
    assert ("Errors of hidden frames" in found.text) == ("imputation/smooth_rmse" in metrics)
    assert ("of an entry" in found.all) == ("model" in files)


def test_a_run_that_is_not_finished(page, tmp_path):
    with pytest.raises(UserError, match="has neither metrics.json nor logs, expected a run"):
        page()
    log(tmp_path / "run", "validation", 3)
    found = page(time={"seconds": 60.0, "epochs": 3})
    assert "not finished: 3 of 24 epochs are done" in found.all
    assert "Frames" in found.text
    assert "Errors of hidden frames" not in found.text
    assert found.sources


def test_settings_that_differ_come_first(page):
    found = page(ERRORS, {"of_mine": "x"})
    names = [row[0] for row in found.rows if row[0].startswith("--")]
    assert names[:2] == ["--dataset", "--missing_rate"]  # the data's
    rows = {row[0]: row for row in found.rows}
    assert rows["--missing_rate"][1:3] == ["0.5", "0.0"]
    assert "--of_mine" in rows
    for name in ("--model", "--units"):  # at their defaults: no default beside them
        assert len(rows[name]) == 2
    assert "What differs from the flags' defaults." in found.text


def test_a_verdict_of_lists(page):
    with pytest.raises(UserError, match=r"verdict/smoothing \[1.0\], expected a number"):
        page(VERDICT | {"verdict/smoothing": [1.0]})
