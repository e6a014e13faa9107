"""Package metadata of kvae_tf.

``KVAE_TF_MODELS=box,pendulum pip wheel .`` puts trained models into the wheel, ``all`` all of them,
for ``kvae_tf.load("box")``. By default there are none, and the wheel is small.
"""

import os
import re
import shutil
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "kvae_tf/__init__.py").read_text(), re.M)[1]
COMMANDS = (
    "train", "evaluate", "impute", "forecast", "simulate", "report", "sweep", "compare", "record",
    "card", "score", "control",
)  # fmt: skip
# Writing filter_step as LiteRT and ONNX, and running the files.
EDGE = ["ai-edge-litert>=2.3.0", "tf2onnx>=1.17.0", "onnx>=1.20.0", "onnxruntime>=1.22.0"]


class BuildWithData(build_py):
    """Puts ``configs/``, and the models in ``KVAE_TF_MODELS``, inside the built package."""

    def run(self):
        super().run()
        if self.editable_mode:  # a clone's configs are read where they are
            return
        shutil.rmtree(Path(self.build_lib) / "kvae_tf" / "saved_models", ignore_errors=True)
        for path in [*self.configs(), *self.models()]:
            target = Path(self.build_lib) / "kvae_tf" / path
            self.mkpath(str(target.parent))
            self.copy_file(path, str(target))

    def get_source_files(self):
        # A source archive holds them, too.
        return [*super().get_source_files(), *self.configs(), *self.models()]

    def configs(self):
        return sorted(glob("configs/*.cfg"))

    def models(self):
        """The files of the chosen models: graph, weights, and what describes them."""
        known = sorted({path.parts[1] for path in Path().glob("saved_models/*/*/saved_model.pb")})
        chosen = [name for name in os.environ.get("KVAE_TF_MODELS", "").split(",") if name]
        chosen = known if chosen == ["all"] else chosen
        for name in chosen:
            if name not in known:
                raise SystemExit(
                    f"KVAE_TF_MODELS has {name!r}, expected all, or some of: {', '.join(known)}"
                )
        kinds = (
            "[0-9]*/**/*",
            "model.json",
            "settings.json",
            "metrics.json",
            "scores.json",
            "*.weights.h5",
            "README.md",
        )
        found = (
            path
            for name in chosen
            for kind in kinds
            for path in Path("saved_models", name).glob(kind)
        )
        return sorted(str(path) for path in found if path.is_file())


setup(
    name="kvae_tf",
    version=VERSION,
    description="Deep latent state-space models from pixels: Kalman VAE and its relatives.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["kvae_tf", "kvae_tf.*"]),
    # Said although it is the default: an editable install is then a path on sys.path, which a
    # folder kvae_tf in the working directory, such as the clone itself, does not hide.
    package_dir={"": "."},
    package_data={"kvae_tf": ["py.typed", "studies/*.json"]},
    cmdclass={"build_py": BuildWithData},
    entry_points={
        "console_scripts": [f"kvae-{name}=kvae_tf.apps.commands.{name}:main" for name in COMMANDS]
    },
    # Lower bounds are what .ci/oldest tests. Upper bounds are left to TensorFlow and tf_keras,
    # which name those that they need.
    install_requires=[
        "tensorflow>=2.18.1",
        "keras>=3.6.0",
        "tensorboard>=2.18.0",
        "numpy>=1.26.4",
        "scipy>=1.13.1",
        "h5py>=3.11.0",
        "absl-py>=2.0.0",
        "matplotlib>=3.8.4",
        "pillow>=10.4.0",
        "pymunk>=6.6.0",
        # For lgssm's method "tfp" and LGSSM.to_tfp only; nothing else imports them.
        "tensorflow-probability>=0.25.0",
        "tf_keras>=2.18.0",  # TensorFlow Probability does not import without it
    ],
    extras_require={
        "test": [
            *EDGE,
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "av>=12.3.0",
            "setuptools>=64",
            "wheel",
        ],
        "docs": ["mkdocs-material", "mkdocstrings[python]"],
        "gpu": ["tensorflow[and-cuda]>=2.18.1"],
        "edge": EDGE,
        "video": ["av>=12.3.0"],
        "profile": ["xprof"],
        # dynamax brings TensorFlow Probability's nightly build, see docs/engine.md.
        "benchmark": [
            "dynamax>=1.0",
            "cuthbert>=0.1.1",
            "simdkalman>=1.0.4",
            "torch-kf>=0.4.3",
        ],
        "compare": ["statsmodels>=0.14", "pandas>=2", "vega_datasets>=0.9"],
    },
)
