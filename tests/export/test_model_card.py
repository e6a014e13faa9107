"""Texts of users in a model card: neither Markdown nor HTML."""

from html.parser import HTMLParser
from types import SimpleNamespace

import markdown
import pytest

from kvae_tf.experiments import presets
from kvae_tf.export import model_card
from kvae_tf.models import registry

MODEL = SimpleNamespace(
    frame_shape=(16, 16, 1), control_size=1, max_objects=0, bound_name="elbo", num_parameters=7,
    has_assertions=True, signatures={"impute": (["frames"], ["frames"])},
)  # fmt: skip
HOSTILE = [
    "a`b``c.npz",
    "`<img src=x onerror=alert(1)>`.npz",
    "x\n```\n<img src=x onerror=alert(1)>\n# Title",
    "x\r\n\u2028| --- |\u202e",
    "[link](javascript:alert(1)) **bold** |.npz",
    "\udcff.npz",  # a file name that is not UTF-8
]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_users_are_only_text(text):
    settings = presets.settings("pendulum_smoke").plan.model

    def card(value):
        flags = {"dataset": value, "plugin": value, "run_name": value, "units": [value, 2]}
        metrics = {"test/elbo": 1.0, f"r2/{value}": 0.5, f"{value}/a": [1.0], f"{value}/b": [2.0]}
        return model_card.write(registry.get("kvae"), settings, flags, MODEL, metrics)

    hostile = card(text)
    hostile.encode("utf-8")
    assert tags(hostile) == tags(card("mine"))
    assert hostile.count("\n--plugin=") == 1


def test_verdict():
    settings = presets.settings("pendulum_smoke").plan.model
    flags = {"dataset": "mine.npz"}
    metrics = {"verdict": "collapsed", "verdict/information": 0.1, "verdict/smoothing": 0.9}

    def card(metrics):
        return model_card.write(registry.get("kvae"), settings, flags, MODEL, metrics)

    top = card(metrics).partition("## Results")[0]
    assert "**Verdict: `collapsed`.** Collapsed: the encodings say nothing of the frames." in top
    assert "Encodings say 0.1 nats" in top
    assert "Verdict" not in card({"test/elbo": 1.0})


def tags(card):
    """The tags of a card as a page: what is neither text nor code."""
    found, parser = [], HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, attributes))
    parser.feed(markdown.markdown(card, extensions=["fenced_code", "tables"]))
    return found


def test_plain_texts_stay_as_they_are():
    settings = presets.settings("pendulum_smoke").plan.model
    flags = {"dataset": "data/my_balls.npz", "units": [8, 8]}
    for has_assertions in (True, False):
        model = SimpleNamespace(**vars(MODEL) | {"has_assertions": has_assertions})
        card = model_card.write(registry.get("kvae"), settings, flags, model, {"r2/sin_x": 0.5})
        assert card.startswith("# KVAE on my_balls\n")
        assert "trained on `data/my_balls.npz`: frames" in card
        assert "| r2/sin_x | 0.5000 |" in card
        assert "--dataset=data/my_balls.npz\n--units=8,8\n" in card
        assert ("of an earlier version" in card) != has_assertions
