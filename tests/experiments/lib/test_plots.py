"""Figures are drawn, saved and closed."""

import json

import numpy as np
import pytest

from experiments.lib import plots


@pytest.mark.parametrize("size", [3, 397])  # without and with a running mean
def test_the_losses_of_a_run_are_drawn(tmp_path, size):
    rng = np.random.default_rng(0)
    lines = [{"step": step, "loss": 2 / step**0.5 + rng.random()} for step in range(1, size + 1)]
    lines += [{"step": size, "held_out_loss": 1.5}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    plots.run_losses(tmp_path, title="Loss", y="nats per character", baselines={"5-gram": 0.3})
    data = (tmp_path / "loss.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 5_000


def test_nothing_is_drawn_where_nothing_was_trained(tmp_path):
    plots.run_losses(tmp_path, title="Loss", y="nats")
    assert not list(tmp_path.iterdir())


def test_a_figure_is_closed(tmp_path):
    before = plots.plt.get_fignums()
    with plots.figure(tmp_path / "f.png", title="Title", x="update", y="nats") as axes:
        axes.plot([1, 2, 3], [3, 1, 2])
        assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Title", "update", "nats")
    assert plots.plt.get_fignums() == before and (tmp_path / "f.png").exists()
