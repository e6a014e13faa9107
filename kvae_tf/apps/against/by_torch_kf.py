"""torch-kf: its steps, all sequences at once, differentiated by PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch_kf import GaussianState, KalmanFilter

from kvae_tf.apps.against.problem import SOURCES, Problem


def paths(problem: Problem) -> dict[str, dict[str, Callable]]:
    """See ``libraries``."""
    given = {name: torch.tensor(x, dtype=torch.float32) for name, x in problem._asdict().items()}

    def forward():
        with torch.no_grad():
            return {"log_likelihood": _log_likelihood(given).numpy()}

    def gradients():
        sources = {name: given[name].detach().requires_grad_() for name in SOURCES}
        result = _log_likelihood(given | sources)
        found = torch.autograd.grad(result.sum(), list(sources.values()))
        outputs = dict(zip(sources, found, strict=True)) | {"log_likelihood": result.detach()}
        return {name: x.numpy() for name, x in outputs.items()}

    return {"batched": {"forward": forward, "gradients": gradients}}


def _log_likelihood(given):
    A, C = (given[name].unbind(1) for name in ("transition", "emission"))
    y = given["observations"][..., None].unbind(1)
    kalman = KalmanFilter(
        A[0], C[0], torch.diag(given["transition_noise"]), torch.diag(given["emission_noise"])
    )
    B = len(y[0])
    mean = given["initial_mean"][:, None].expand(B, -1, 1)
    state = GaussianState(mean, given["initial_covariance"].expand(B, -1, -1))
    terms = []
    for t, measure in enumerate(y):
        if t:
            state = kalman.predict(state, process_matrix=A[t - 1])
        projection = kalman.project(state, measurement_matrix=C[t])
        terms.append(projection.log_likelihood(measure))
        state = kalman.update(state, measure, projection=projection, measurement_matrix=C[t])
    return torch.stack(terms).sum(0)
