"""The REST client of the docs against an export, with requests read as TensorFlow Serving does."""

import http.server
import importlib.util
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def client():
    spec = importlib.util.spec_from_file_location("rest_client", ROOT / "docs" / "rest_client.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def export(exported, loaded):
    """Of the pendulum's world, by this version, which checks its inputs."""
    return loaded(exported("kvae")).module


def specs(export, signature):
    return export.signatures[signature].structured_input_signature[1]


def tensor(value, spec):
    """A tensor of a JSON value: of the input's dtype, whole numbers where it is of integers."""
    array = np.array(value)  # ragged lists are refused here
    assert array.dtype != object
    if spec.dtype.is_integer:
        assert np.issubdtype(array.dtype, np.integer), f"{value} is no whole number"
    assert np.issubdtype(array.dtype, np.number), f"{value} is no number"
    return tf.constant(array, spec.dtype)


def parse(body, export):
    """Signature and tensors of a request's body, by the rules of Serving's ``api_rest``."""
    request = json.loads(body)
    signature = request.get("signature_name", "serving_default")
    inputs = specs(export, signature)
    assert ("inputs" in request) is not ("instances" in request)
    if "inputs" in request:  # columns: every named input, each a whole tensor
        given = request["inputs"]
        assert inputs.keys() <= given.keys(), f"missing named inputs in {sorted(given)}"
        return signature, {name: tensor(given[name], spec) for name, spec in inputs.items()}
    rows = request["instances"]  # rows: an object a sequence, stacked along a new first axis
    assert rows
    assert all(row.keys() == inputs.keys() for row in rows)
    return signature, {
        name: tf.stack([tensor(row[name], spec) for row in rows]) for name, spec in inputs.items()
    }


def respond(outputs):
    """The body of Serving's answer to a request in columns."""
    outputs = {name: value.numpy().tolist() for name, value in outputs.items()}
    return json.dumps({"outputs": next(iter(outputs.values())) if len(outputs) == 1 else outputs})


@pytest.fixture
def url(export):
    """A server on this machine that answers as Serving does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            assert self.path == "/v1/models/pendulum:predict"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                signature, given = parse(body, export)
                status, answer = 200, respond(export.signatures[signature](**given))
            except Exception as error:
                status, answer = 400, json.dumps({"error": str(error)})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/models/pendulum"
        server.shutdown()
        thread.join()


def case(B=2, T=4):
    rng = np.random.default_rng(0)
    observed = np.ones((B, T), np.float32)
    observed[0, 2] = 0
    return {
        "frames": rng.random((B, T, 16, 16, 1)).astype(np.float32),
        "observed": observed,
        "controls": rng.normal(size=(B, T, 1)).astype(np.float32),
    }


def test_answers_are_those_of_the_signature(client, url, export):
    given = case()
    found = client.ask(url, "impute", **given)
    expected = export.signatures["impute"](**{name: tf.constant(x) for name, x in given.items()})
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name].astype(np.float32), value)
    drawn = client.ask(url, "generate", num_sequences=2, num_steps=3, controls=0.0, seed=1)
    assert drawn["frames"].shape == (2, 3, 16, 16, 1)


def test_frame_by_frame(client, url, export):
    """The client hands the state back, whole numbers and all."""
    given, state = case(), client.ask(url, "filter_start", batch_size=2)
    expected = export.signatures["impute_filter"](
        **{name: tf.constant(x) for name, x in given.items()}
    )
    for t in range(4):
        now = {name: x[:, t] for name, x in given.items()}
        found = client.ask(url, "filter_step", **state, **now)
        state = {name: x for name, x in found.items() if name.startswith("state_")}
        np.testing.assert_allclose(found["encodings"], expected["encodings"][:, t], atol=1e-4)
    assert state["state_time"].tolist() == [4, 4]


def test_a_single_output_comes_without_its_name(client, url):
    (found,) = client.ask(url, "decode", encodings=np.zeros((1, 1, 2), np.float32)).values()
    assert found.shape == (1, 1, 16, 16, 1)


def test_rows_say_the_same_as_columns(client, export):
    given = case()
    columns = parse(client.body("impute", **given), export)
    rows = [{name: x[i].tolist() for name, x in given.items()} for i in range(2)]
    _, tensors = parse(json.dumps({"signature_name": "impute", "instances": rows}), export)
    assert columns[0] == "impute"
    for name, value in columns[1].items():
        np.testing.assert_array_equal(tensors[name], value)
        np.testing.assert_array_equal(value, given[name])


def test_bad_requests_name_what_is_wrong(client, url):
    given = case()
    for changed, words in (
        ({"observed": 2.0}, "observed: expected 1"),
        ({"frames": given["frames"][..., :8, :]}, "frames"),
        ({"controls": np.zeros((2, 4, 3))}, "controls: expected a tensor of shape"),
    ):
        with pytest.raises(ValueError, match="refused the request") as caught:
            client.ask(url, "impute", **given | changed)
        assert words in str(caught.value)
    del given["controls"]
    with pytest.raises(ValueError, match="missing named inputs"):
        client.ask(url, "impute", **given)


def test_the_body_on_the_page_is_one(export):
    """Its ``[...]`` stand for frames and mask."""
    (line,) = [line for line in PAGE.splitlines() if '{"signature_name"' in line]
    request = json.loads(line.replace("[...]", "0.0"))
    signature, given = parse(json.dumps(request), export)
    assert given.keys() == specs(export, signature).keys()
    assert '--8<-- "docs/rest_client.py"' in PAGE
