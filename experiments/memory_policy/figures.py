"""Figures of memory_policy: how policies learn, and how far the learner is from the actor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib import plots

AGENTS = {"recurrent": "with memory", "memoryless": "without memory", "off_by_one": "done off by one"}
TASKS = {"t_maze": "T-maze", "repeat_first": "Repeat first", "cart_pole": "Noisy stateless cart-pole"}
STYLES = dict(zip(AGENTS, ("-", "--", "-."), strict=True))


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running means over the last axis `[S, U]`, of what is no NaN."""
    known, window = np.isfinite(values), np.ones(width)
    parts = np.where(known, values, 0), known
    sums, counts = (np.stack([np.convolve(row, window, mode="valid") for row in part]) for part in parts)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def draw_curves(folder: Path, found: Mapping[str, Mapping[str, Any]], steps: int) -> None:
    """Draws curves.png: mean returns against the steps taken, so many in an update; thin lines are single seeds."""
    title = "Return of the episodes in a rollout: each seed, and their mean"
    size = (1.5 + 4.6 * len(found), 4.2)
    with plots.panels(folder / "curves.png", columns=len(found), size=size, title=title) as axes:
        for axis, (task, agents) in zip(axes[0], found.items(), strict=True):
            for agent, one in agents.items():
                width = max(1, one.curves.shape[1] // 40)
                curves = smooth(one.curves, width)
                at = (np.arange(curves.shape[1]) + width) * steps / 1000
                style = {"color": plots.COLOURS[list(AGENTS).index(agent)], "linestyle": STYLES[agent]}
                axis.plot(at, curves.T, **style, linewidth=0.7, alpha=0.4)
                axis.plot(at, np.ma.masked_invalid(curves).mean(axis=0), **style, label=AGENTS[agent])
            axis.set(title=TASKS[task], xlabel="steps taken (thousand)")
        axes[0, 0].set_ylabel("return")
        plots.legend_beside(axes[0, -1])


def draw_gaps(folder: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Draws gap.png: what learner and actor differ by before an update, a line for each agent."""
    title = "The same steps of the same policy: log-probabilities of the actor less those of the learner"
    size = (1.5 + 4.6 * len(found), 3.8)
    with plots.panels(folder / "gap.png", columns=len(found), size=size, title=title) as axes:
        for axis, (task, agents) in zip(axes[0], found.items(), strict=True):
            for agent, one in agents.items():
                gap = np.maximum(one.gaps.mean(axis=0), 1e-9)
                style = {"color": plots.COLOURS[list(AGENTS).index(agent)], "linestyle": STYLES[agent]}
                axis.plot(np.arange(len(gap)) + 1, gap, **style, label=AGENTS[agent])
            axis.set(title=TASKS[task], xlabel="update", yscale="log", ylim=(3e-10, 1))
        axes[0, 0].set_ylabel("mean absolute difference")
        plots.legend_beside(axes[0, -1])
