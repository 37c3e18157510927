"""What a policy has to remember: recurrent PPO with and without a memory, and with the usual mistake about `done`.

    python -m experiments.memory_policy                      4 minutes on one core: T-maze, repeat first and noisy
                                                             stateless cart-pole; the return in the T-maze is 1.00
                                                             with a memory, 0.49 without, 0.45 with the mistake
    python -m experiments.memory_policy --agents off_by_one  the mistake alone, which fails: resets=done
    python -m experiments.memory_policy --cell lstm          remembered by another cell

The whole training, environments included, is one compiled function from a random key to a policy; `jax.vmap` runs it
from several keys side by side.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from scipy import stats

import rnnjax
from experiments.lib import devices, frame
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.intervals import Interval
from experiments.lib.no_recurrence import memoryless
from experiments.memory_policy import environments, figures, ppo
from rnnjax.data import write_text
from rnnjax.recurrence import resets_from_done

TASKS = ("t_maze", "repeat_first", "cart_pole")
AGENTS = ("recurrent", "memoryless", "off_by_one")


@dataclasses.dataclass(frozen=True)
class Config(frame.Config):
    """Options of a run."""

    tasks: tuple[str, ...] = TASKS  # what to learn
    agents: tuple[str, ...] = AGENTS  # who learns it; off_by_one is recurrent and takes done for resets
    cell: str = "gru"  # that remembers: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units of the layer before the cell, and of the cell
    seeds: int = 5  # policies of each kind, trained side by side
    corridor: int = 20  # steps of the T-maze before one has to turn
    cards: int = 52  # that are dealt in an episode of repeat first
    noise: float = 0.2  # of the cart-pole, in shares of the place and the angle at which an episode ends
    limit: int = 200  # steps of the cart-pole after which an episode ends
    environments: int = 64  # in which a policy acts at once
    length: int = 64  # steps of a rollout
    updates: int = 100  # rollouts that are learned from
    epochs: int = 4  # times that each one is gone through
    minibatches: int = 4  # into which its environments are divided
    learning_rate: float = 0.003  # at first; it falls to zero
    clip_norm: float = 0.5  # bound of the gradient's norm
    discount: float = 0.99  # of rewards, per step
    trace: float = 0.95  # lambda of the advantage estimates
    clip: float = 0.2  # of the ratio of probabilities
    value_weight: float = 1.0  # of the error of the values in the loss
    entropy_weight: float = 0.01  # of the entropy of the actions in the loss
    episodes: int = 512  # that each policy is measured in

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        for name, known in (("tasks", TASKS), ("agents", AGENTS)):
            if not getattr(self, name) or not {*getattr(self, name)} <= {*known}:
                raise ValueError(f"expected --{name} to be some of {', '.join(known)}, got {getattr(self, name)}.")
        if self.seeds < 2:
            raise ValueError(f"expected --seeds from 2, for the intervals, got {self.seeds}.")
        if self.environments % self.minibatches:
            raise ValueError(
                f"expected --minibatches that divide --environments, got {self.minibatches} and {self.environments}."
            )


SMOKE = {"tasks": ("t_maze",), "agents": ("recurrent", "off_by_one"), "cell": "irnn", "hidden": 5, "seeds": 2}
SMOKE |= {"corridor": 2, "environments": 6, "length": 11, "updates": 3, "epochs": 2, "minibatches": 2, "episodes": 7}


def make_task(config: Config, task: str) -> environments.Environment:
    """Makes the environment of this name."""
    if task == "t_maze":
        return environments.t_maze(config.corridor)
    if task == "repeat_first":
        return environments.repeat_first(config.cards)
    return environments.cart_pole(config.noise, config.limit)


def make_network(config: Config, agent: str, inputs: int) -> rnnjax.Cell:
    """Makes a layer of ReLUs with the cell on it, or in the place of the cell another layer."""
    remember = memoryless(config.hidden, config.hidden)
    if agent != "memoryless":
        remember = make_cell(config.cell, config.hidden, config.hidden)
    return rnnjax.stack([memoryless(inputs, config.hidden), remember])


def make_resets(agent: str) -> Callable:
    """Makes `(done [T, E], done before [E]) -> resets [T, E]` of the learner, which is what off_by_one gets wrong."""
    return (lambda done, before: done) if agent == "off_by_one" else resets_from_done


class Learned(NamedTuple):
    """What S policies of a kind came to."""

    curves: np.ndarray  # mean return of the episodes that ended in each rollout [S, updates]
    gaps: np.ndarray  # of log-probabilities between actor and learner [S, updates]
    returns: np.ndarray  # of episodes afterwards [S, N]


def learn(config: Config, task: str, agent: str, folder: Path) -> Learned:
    """Trains policies from all keys side by side, or reads what an interrupted run has trained; measures them."""
    environment = make_task(config, task)
    cell = make_network(config, agent, environment.observations)
    train = jax.jit(jax.vmap(ppo.make_train(config, environment, cell, make_resets(agent))))
    evaluate = jax.jit(jax.vmap(ppo.make_evaluate(environment, cell, config.episodes)))
    keys = jax.random.split(jax.random.key(config.seed), (2, config.seeds))
    keys, keys_test = devices.share_runs(config, [*keys], config.seeds)
    with rnnjax.training.Checkpoints(folder / "checkpoints") as checkpoints:
        saved = checkpoints.restore(jax.eval_shape(train, keys)) if config.resume else None
        trained = train(keys) if saved is None else saved.tree
        checkpoints.save(config.updates, trained)
    found = Learned(*jax.device_get((trained.returns, trained.gap, evaluate(trained.params, keys_test))))
    curves = np.where(np.isnan(found.curves), None, found.curves)  # null where no episode ended
    rows = enumerate(zip(curves.T.tolist(), found.gaps.T.tolist(), strict=True), 1)
    lines = [json.dumps({"step": step, "return": row, "gap": gap}) for step, (row, gap) in rows]
    write_text(folder / "metrics.jsonl", "\n".join(lines) + "\n")
    print(f"{task}, {agent}: return {found.returns.mean():.3f}, in {folder}", flush=True)
    return found


def over_seeds(values: np.ndarray) -> Interval:
    """The mean of values `[S]` with Student's interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def main(config: Config) -> dict:
    """Trains all agents on all tasks, draws, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    found = {
        task: {agent: learn(config, task, agent, run.folder / f"{task}-{agent}") for agent in config.agents}
        for task in config.tasks
    }
    returns = {task: {name: over_seeds(x.returns.mean(axis=1)) for name, x in of.items()} for task, of in found.items()}
    solved = {name: over_seeds((x.returns > 0.5).mean(axis=1)) for name, x in found.get("t_maze", {}).items()}
    figures.draw_curves(run.folder, found, config.environments * config.length)
    figures.draw_gaps(run.folder, found)
    names = {agent: config.cell if agent == "recurrent" else agent for agent in config.agents}
    headline = {
        f"return_{names[agent]}{'' if task == TASKS[0] else f'_{task}'}": each.mean
        for task, of_task in returns.items()
        for agent, each in of_task.items()
    }
    headline |= {f"success_{names[agent]}": each.mean for agent, each in solved.items()}
    gaps = {task: {name: x.gaps[:, -1].mean() for name, x in of.items()} for task, of in found.items()}
    steps = config.updates * config.environments * config.length
    values = {"returns": returns, "solved": solved, "gaps": gaps, "agents": figures.AGENTS, "tasks": figures.TASKS}
    return frame.finish(run, headline, steps=steps, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
