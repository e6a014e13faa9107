"""Package metadata of kvae_tf."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

TEST = ["pytest", "pytest-xdist", "ruff", "av>=12"]

setup(
    name="kvae_tf",
    version="0.1.0",
    description="Deep latent state-space models from pixels: Kalman VAE and its relatives.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["kvae_tf", "kvae_tf.*"]),
    data_files=[("share/kvae_tf/configs", sorted(glob("configs/*.cfg")))],
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
        "test": TEST,
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.22"],
        "video": ["av>=12"],
        "profile": ["xprof"],
    },
)
