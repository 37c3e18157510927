"""Figures are drawn, saved and closed."""

import numpy as np
import pytest

from experiments.lib import plots


@pytest.mark.parametrize("size", [3, 397])  # without and with a running mean
def test_loss_curves_writes_a_png(tmp_path, size):
    steps = np.arange(1, size + 1)
    losses = 2 / np.sqrt(steps) + np.random.default_rng(0).random(size)
    points = {"held out": ([1, size], [2.5, 1.5]), "uniform": ([size], [3.0])}
    options = {"title": "Loss", "y": "nats per character", "baselines": {"5-gram": 0.3}}
    plots.loss_curves(tmp_path / "loss.png", (steps, losses), points, **options)
    data = (tmp_path / "loss.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 5_000


def test_a_figure_is_closed(tmp_path):
    before = plots.plt.get_fignums()
    with plots.figure(tmp_path / "f.png", title="Title", x="update", y="nats") as axes:
        axes.plot([1, 2, 3], [3, 1, 2])
        assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Title", "update", "nats")
    assert plots.plt.get_fignums() == before and (tmp_path / "f.png").exists()
