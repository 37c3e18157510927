"""Proximal policy optimisation of a recurrent policy (Schulman et al. 2017), one pure function from a key to a policy.

Arrays are `[T, E, ...]`: T steps of E environments, which go on where the rollout before stopped.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rnnjax
from experiments.memory_policy.environments import Environment, and_start_again


class Params(NamedTuple):
    """Parameters of a policy: of its cell, and of what it reads off it."""

    cell: Any
    w: jax.Array  # [H, actions + 1], logits and the value
    b: jax.Array  # [actions + 1]


class Steps(NamedTuple):
    """What an actor records of its steps."""

    observation: Any  # [..., F]
    action: jax.Array  # int [...]
    log_prob: jax.Array  # of the action, when it was taken [...]
    value: jax.Array  # [...]
    reward: jax.Array  # [...]
    done: jax.Array  # bool [...], whether the episode ended with this step
    return_: jax.Array  # of the episode so far [...]


class Actor(NamedTuple):
    """Where an actor is."""

    states: Any  # of the environments [E, ...]
    observation: jax.Array  # [E, F], to act on
    done: jax.Array  # bool [E], whether the step before ended an episode
    carry: Any  # of the cell [E, ...], after the step before
    return_: jax.Array  # of the episode so far [E]


class Trained(NamedTuple):
    """A policy, and how it came about."""

    params: Params
    returns: jax.Array  # of the episodes that ended in each rollout, their mean [updates]
    gap: jax.Array  # |log p(action)| of the actor less that of the learner, before an update, its mean [updates]


def init(cell: rnnjax.Cell, actions: int, key: jax.Array) -> Params:
    """Draws parameters with which all actions are nearly equally probable."""
    key_cell, key_w = jax.random.split(key)
    w = 0.01 * jax.random.normal(key_w, (cell.output_size, actions + 1))
    return Params(cell.init(key_cell), w, jnp.zeros(actions + 1))


def read(params: Params, ys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits `[..., actions]` and values `[...]` of outputs of the cell `[..., H]`."""
    found = jnp.matmul(ys, params.w)
    found = found + jnp.broadcast_to(params.b, found.shape)
    return found[..., :-1], found[..., -1]


def log_prob_of(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Log-probabilities `[...]` of actions."""
    return -optax.softmax_cross_entropy_with_integer_labels(logits, action)


# ---- acting ------------------------------------------------------------------------------------------------------


def begin(environment: Environment, cell: rnnjax.Cell, count: int, key: jax.Array) -> Actor:
    """An actor before its first step, in so many environments."""
    states, observation = jax.vmap(environment.start)(jax.random.split(key, count))
    return Actor(states, observation, jnp.ones(count, bool), cell.initial_carry((count,)), jnp.zeros(count))


def act(cell: rnnjax.Cell, params: Params, actor: Actor) -> tuple[Any, jax.Array, jax.Array]:
    """Carry, logits and value for the next step: the cell starts afresh where the step before ended an episode."""
    x = rnnjax.combinators.ResetInput(actor.observation, actor.done)
    carry, y = rnnjax.reset_on(cell).apply(params.cell, actor.carry, x)
    return carry, *read(params, y)


def roll_out(
    environment: Environment, cell: rnnjax.Cell, params: Params, actor: Actor, keys: jax.Array
) -> tuple[Actor, Steps]:
    """Takes a step in every environment for every key `[T]`."""
    environment = and_start_again(environment)

    def step(actor: Actor, key: jax.Array) -> tuple[Actor, Steps]:
        key_action, key_step = jax.random.split(key)
        carry, logits, value = act(cell, params, actor)
        action = jax.random.categorical(key_action, logits)
        taken = jax.vmap(environment.step)(jax.random.split(key_step, len(action)), actor.states, action)
        return_ = actor.return_ + taken.reward
        kept = jnp.where(taken.done, 0.0, return_)
        record = actor.observation, action, log_prob_of(logits, action), value, taken.reward, taken.done, return_
        return Actor(taken.state, taken.observation, taken.done, carry, kept), Steps(*record)

    return jax.lax.scan(step, actor, keys)


# ---- learning ----------------------------------------------------------------------------------------------------


def advantages(steps: Steps, last_value: jax.Array, discount: float, trace: float) -> jax.Array:
    """Generalised advantage estimates `[T, E]` (Schulman et al. 2016), given the values after the last step `[E]`.

    d_t = r_t + discount v_{t+1} - v_t,    a_t = d_t + discount trace a_{t+1},    where nothing crosses a done step.
    """
    keep = discount * (1.0 - steps.done)
    following = jnp.concatenate([steps.value[1:], last_value[None]])
    deltas = steps.reward + keep * following - steps.value

    def step(later: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, kept = now
        here = delta + kept * trace * later
        return here, here

    return jax.lax.scan(step, jnp.zeros_like(last_value), (deltas, keep), reverse=True)[1]


class Lesson(NamedTuple):
    """What is learned from: a rollout, the carries before it, and what it was worth."""

    carry: Any  # [E, ...]
    resets: jax.Array  # bool [T, E]
    steps: Steps  # [T, E, ...]
    advantage: jax.Array  # [T, E]


def loss(config: Any, cell: rnnjax.Cell, params: Params, lesson: Lesson) -> tuple[jax.Array, jax.Array]:
    """The loss of PPO, and how far the learner's log-probabilities are from those of the actor, on average."""
    steps, advantage = lesson.steps, lesson.advantage
    _, ys = rnnjax.unroll(cell, params.cell, steps.observation, lesson.carry, resets=lesson.resets)
    logits, values = read(params, ys)
    difference = log_prob_of(logits, steps.action) - steps.log_prob
    ratio, scaled = jnp.exp(difference), (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    of_policy = -jnp.minimum(ratio * scaled, clipped * scaled).mean()
    of_value = 0.5 * jnp.mean((values - steps.value - advantage) ** 2)
    log_probs = jax.nn.log_softmax(logits)
    entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1).mean()
    return of_policy + config.value_weight * of_value - config.entropy_weight * entropy, jnp.abs(difference).mean()


def make_optimizer(config: Any) -> optax.GradientTransformation:
    """Adam with clipped gradients and a rate that falls to zero."""
    rate = optax.linear_schedule(config.learning_rate, 0.0, config.updates * config.epochs * config.minibatches)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(rate, eps=1e-5))


def make_train(config: Any, environment: Environment, cell: rnnjax.Cell, resets_of: Callable) -> Callable:
    """Makes `key -> Trained`, all of the training; `resets_of` is `(done [T, E], done before [E]) -> resets [T, E]`."""
    optimizer = make_optimizer(config)

    def descend(learner: tuple, lesson: Lesson) -> tuple[tuple, jax.Array]:
        params, memory = learner
        gradient, gap = jax.grad(lambda p: loss(config, cell, p, lesson), has_aux=True)(params)
        change, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, change), memory), gap

    def epoch(lesson: Lesson, learner: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        rows = jax.random.permutation(key, config.environments).reshape(config.minibatches, -1)

        def learn(learner: tuple, some: jax.Array) -> tuple[tuple, jax.Array]:
            part = jax.tree.map(lambda leaf: leaf[:, some], lesson._replace(carry=()))
            return descend(learner, part._replace(carry=jax.tree.map(lambda leaf: leaf[some], lesson.carry)))

        return jax.lax.scan(learn, learner, rows)

    def update(state: tuple, key: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        learner, actor = state
        key_steps, key_epochs = jax.random.split(key)
        keys = jax.random.split(key_steps, config.length)
        after, steps = roll_out(environment, cell, learner[0], actor, keys)
        _, _, last_value = act(cell, learner[0], after)
        advantage = advantages(steps, last_value, config.discount, config.trace)
        lesson = Lesson(actor.carry, resets_of(steps.done, actor.done), steps, advantage)
        epochs = jax.random.split(key_epochs, config.epochs)
        learner, gaps = jax.lax.scan(lambda *args: epoch(lesson, *args), learner, epochs)
        finished = jnp.sum(steps.return_ * steps.done) / jnp.sum(steps.done)  # NaN where no episode ended
        return (learner, after), (finished, gaps[0, 0])

    def train(key: jax.Array) -> Trained:
        key_params, key_actor, key_updates = jax.random.split(key, 3)
        params = init(cell, environment.actions, key_params)
        actor = begin(environment, cell, config.environments, key_actor)
        state = (params, optimizer.init(params)), actor
        ((params, _), _), curves = jax.lax.scan(update, state, jax.random.split(key_updates, config.updates))
        return Trained(params, *curves)

    return train


def make_evaluate(environment: Environment, cell: rnnjax.Cell, episodes: int) -> Callable:
    """Makes `(params, key) -> returns [N]` of so many episodes, one in each of as many environments."""

    def evaluate(params: Params, key: jax.Array) -> jax.Array:
        key_actor, key_steps = jax.random.split(key)
        actor, keys = begin(environment, cell, episodes, key_actor), jax.random.split(key_steps, environment.limit)
        _, steps = roll_out(environment, cell, params, actor, keys)
        first = jnp.argmax(steps.done, axis=0)  # an episode ends within the limit
        return jnp.take_along_axis(steps.return_, first[None], axis=0)[0]

    return evaluate
