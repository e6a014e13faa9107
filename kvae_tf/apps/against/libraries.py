"""The libraries: what has to be installed for each, and which module here calls it.

Such a module has ``paths(problem)``, which gives name of a path -> task -> a call without
arguments, that returns named NumPy arrays: ``log_likelihood`` ``[B]``, and for the task
``"gradients"`` those of its sum by ``problem.SOURCES``. A library without gradients lacks the task.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

from kvae_tf.errors import UserError

OURS = "kvae_tf"
INSTALLED = "installed"


class Library(NamedTuple):
    """A library.

    Attributes:
      modules: modules that have to be there.
      packages: their packages, whose versions are reported, the library's own first.
      caller: the module of this package that calls it.
    """

    modules: tuple[str, ...]
    packages: tuple[str, ...]
    caller: str


LIBRARIES = {
    OURS: Library((), ("kvae_tf", "tensorflow"), "by_kvae_tf"),
    "tfp": Library(
        ("tensorflow_probability", "tf_keras"),
        ("tensorflow-probability", "tensorflow"),
        "by_tfp",
    ),
    "dynamax": Library(("dynamax",), ("dynamax", "jax"), "by_dynamax"),
    "cuthbert": Library(("cuthbert", "cuthbertlib"), ("cuthbert", "jax"), "by_cuthbert"),
    "simdkalman": Library(("simdkalman",), ("simdkalman", "numpy"), "by_simdkalman"),
    "torch-kf": Library(("torch_kf", "torch"), ("torch-kf", "torch"), "by_torch_kf"),
}


def chosen(names: Sequence[str]) -> list[str]:
    """Names of libraries to time, in the order of ``LIBRARIES``: this package's, and those chosen.

    Args:
      names: out of ``LIBRARIES``, or ``INSTALLED`` for all that are installed.

    Raises:
      UserError: a name is unknown, or the library is not installed.
    """
    for name in names:
        if name not in (*LIBRARIES, INSTALLED):
            known = ", ".join([*LIBRARIES, INSTALLED])
            raise UserError(f"--against has {name!r}, expected some of {known}")
        missing = _missing(name) if name in LIBRARIES else []
        if missing:
            raise UserError(
                f"--against={name} needs {', '.join(missing)}, not installed here: "
                "pip install 'kvae_tf[benchmark]'"
            )
    everything = INSTALLED in names
    return [
        name
        for name in LIBRARIES
        if name == OURS or name in names or (everything and not _missing(name))
    ]


def _missing(name):
    return [x for x in LIBRARIES[name].modules if importlib.util.find_spec(x) is None]
