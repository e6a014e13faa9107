"""Package metadata of kvae_tf."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "kvae_tf/__init__.py").read_text(), re.M)[1]
COMMANDS = (
    "train", "evaluate", "impute", "forecast", "simulate", "report", "sweep", "compare", "record",
    "card",
)  # fmt: skip


class BuildWithConfigs(build_py):
    """Puts the folder ``configs/`` of the repository inside the built package."""

    def run(self):
        super().run()
        if self.editable_mode:  # a clone's configs are read where they are
            return
        folder = Path(self.build_lib) / "kvae_tf" / "configs"
        self.mkpath(str(folder))
        for path in self.configs():
            self.copy_file(path, str(folder / Path(path).name))

    def get_source_files(self):
        return [*super().get_source_files(), *self.configs()]  # a source archive holds them, too

    def configs(self):
        return sorted(glob("configs/*.cfg"))


setup(
    name="kvae_tf",
    version=VERSION,
    description="Deep latent state-space models from pixels: Kalman VAE and its relatives.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["kvae_tf", "kvae_tf.*"]),
    # Said although it is the default: an editable install is then a path on sys.path, which a
    # folder kvae_tf in the working directory, such as the clone itself, does not hide.
    package_dir={"": "."},
    package_data={"kvae_tf": ["py.typed"]},
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={
        "console_scripts": [f"kvae-{name}=kvae_tf.apps.commands.{name}:main" for name in COMMANDS]
    },
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "tf_keras>=2.20,<2.22",  # TensorFlow Probability does not import without it
        "tensorflow-probability>=0.25,<0.26",
        "keras>=3.10,<4",
        "tensorboard>=2.20",
        "numpy>=1.26",
        "scipy>=1.11",
        "h5py>=3.10",
        "absl-py>=2.0",
        "matplotlib>=3.8",
        "pillow>=10",
        "pymunk>=6.5",
    ],
    extras_require={
        "test": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "av>=12",
            "setuptools>=64",
            "wheel",
        ],
        "docs": ["mkdocs-material", "mkdocstrings[python]"],
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.22"],
        "video": ["av>=12"],
        "profile": ["xprof"],
        "compare": ["statsmodels>=0.14", "pandas>=2", "vega_datasets>=0.9"],
    },
)
