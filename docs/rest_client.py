"""A client of TensorFlow Serving's REST API: neither TensorFlow nor kvae_tf is needed."""

import json
import urllib.error
import urllib.request

import numpy as np


def body(signature, **inputs):
    """The body of a request: all inputs of the signature by name, as numbers or nested lists."""
    inputs = {name: np.asarray(value).tolist() for name, value in inputs.items()}
    return json.dumps({"signature_name": signature, "inputs": inputs}).encode()


def ask(url, signature, **inputs):
    """The outputs of a signature by name, as arrays; ``url`` is http://HOST:8501/v1/models/NAME."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}:predict", body(signature, **inputs), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            outputs = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url} refused the request: {error.read().decode()}") from None
    # A single output comes without its name.
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    return {name: np.array(value) for name, value in named.items()}
