"""The report's page: whatever a run's files hold is text in it, never markup."""

import html.parser
import json

import pytest

from kvae_tf.experiments import report

HOSTILE = "<img src=x onerror=alert(1)>`${1}`\n</td>\"'&{x}"
FIELDS = ("model", "dataset", "seed", "run_dir", HOSTILE)


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("field", FIELDS, ids=[*FIELDS[:-1], "name"])
def test_every_value_is_escaped(field, tmp_path):
    folder = tmp_path / "<b onclick=x>run"
    folder.mkdir()
    values = {"model": "kvae", "dataset": "box", "seed": 0} | {field: HOSTILE}
    (folder / "settings.json").write_text(json.dumps(values))
    (folder / "metrics.json").write_text(json.dumps({HOSTILE: 1.0, "list": [1.0, 2.0]}))
    report.write(folder, folder / "report.html")
    page = Page()
    page.feed((folder / "report.html").read_text())
    assert not page.tags & {"img", "b", "script"}
    assert page.attributes <= {"lang", "charset", "name", "content"}
    assert HOSTILE in "".join(page.text)
