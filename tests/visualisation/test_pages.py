"""The report and TensorBoard in a real browser without a screen."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from commands import run
from PIL import Image

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="no Chromium on the path"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    flags = ["--flagfile=configs/pendulum_smoke.cfg", "--steps_per_epoch=5", "--image_epochs=1"]
    result = run("train", *flags, f"--run_dir={folder}", "--test_sequences=20")
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def browse(address: str, folder: Path, *flags: str) -> str:
    """What the browser makes of a page: its text after scripts have run, and a picture."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               f"--user-data-dir={folder / 'profile'}", "--window-size=1200,1600",
               *flags]  # fmt: skip
    picture = folder / "page.png"
    for wanted in (f"--screenshot={picture}", "--dump-dom"):
        found = subprocess.run([*command, wanted, address], capture_output=True, text=True,
                               timeout=3600)  # fmt: skip
        assert found.returncode == 0, found.stderr[-2000:]
    shown = np.asarray(Image.open(picture).convert("L"))
    assert np.ptp(shown) > 100  # something was drawn
    return found.stdout


def test_report(folder, tmp_path):
    page = tmp_path / "report.html"
    result = run("report", f"--run={folder}", f"--output={page}")
    assert result.returncode == 0, result.stderr[-2000:]
    text = browse(page.as_uri(), tmp_path)
    for word in ("kvae on pendulum", "test/elbo_per_frame", "<img", "steps_per_epoch"):
        assert word in text


def test_tensorboard(folder, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder / "logs"),
               "--port", str(port), "--load_fast=false"]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"{address}/data/plugin/scalars/tags") as answer:
                    tags = answer.read().decode()
                if "epoch_elbo" in tags:
                    break
            except OSError:
                pass
            time.sleep(1)
        assert "epoch_elbo" in tags
        wait = "--virtual-time-budget=20000"
        assert "epoch_elbo" in browse(f"{address}/#timeseries", tmp_path, wait)
        assert "validation" in browse(f"{address}/#images", tmp_path, wait)
    finally:
        server.terminate()
        server.wait()
