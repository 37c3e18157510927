"""Three tasks that need a memory, in pure JAX, each for one environment: `jax.vmap` makes many.

They give their rewards such that the return of an episode is at most 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Step(NamedTuple):
    """What a step leads to."""

    state: Any
    observation: jax.Array  # [F]
    reward: jax.Array  # []
    done: jax.Array  # bool [], whether the episode ended with this step


class Environment(NamedTuple):
    """A task."""

    start: Callable  # key -> (state, observation [F])
    step: Callable  # (key, state, action []) -> Step
    observations: int  # F
    actions: int
    limit: int  # steps after which an episode ends at the latest


def and_start_again(environment: Environment) -> Environment:
    """The environment in which the first observation of another episode follows the last step of one."""

    def step(key: jax.Array, state: Any, action: jax.Array) -> Step:
        key_step, key_start = jax.random.split(key)
        taken = environment.step(key_step, state, action)
        again = environment.start(key_start)
        following = jax.tree.map(lambda a, b: jnp.where(taken.done, a, b), again, taken[:2])
        return Step(*following, taken.reward, taken.done)

    return environment._replace(step=step)


# ---- T-maze, Bakker 2001 -----------------------------------------------------------------------------------------

NORTH, EAST, SOUTH, WEST = range(4)
BUMP = -0.025


class Maze(NamedTuple):
    """Where one is in the T-maze."""

    north: jax.Array  # bool [], whether the goal is there
    place: jax.Array  # int [], steps east of the start
    time: jax.Array  # int [], steps so far


def t_maze(corridor: int) -> Environment:
    """A sign at the start tells which way to turn at the end of a corridor of so many steps."""
    limit = 4 * corridor

    def look(maze: Maze) -> jax.Array:
        sign = jnp.where(maze.north, jnp.array([0.0, 1, 1]), jnp.array([1.0, 1, 0]))
        elsewhere = jnp.where(maze.place == corridor, jnp.array([0.0, 1, 0]), jnp.array([1.0, 0, 1]))
        return jnp.where(maze.place == 0, sign, elsewhere)

    def start(key: jax.Array) -> tuple[Maze, jax.Array]:
        maze = Maze(jax.random.bernoulli(key), jnp.int32(0), jnp.int32(0))
        return maze, look(maze)

    def step(key: jax.Array, maze: Maze, action: jax.Array) -> Step:
        del key
        turned = (maze.place == corridor) & ((action == NORTH) | (action == SOUTH))
        east = (action == EAST).astype(jnp.int32) - (action == WEST).astype(jnp.int32)
        after = maze._replace(place=jnp.clip(maze.place + east, 0, corridor), time=maze.time + 1)
        right, moved = turned & ((action == NORTH) == maze.north), after.place != maze.place
        reward = jnp.where(right, 1.0, jnp.where(moved, 0.0, BUMP))
        return Step(after, look(after), reward, turned | (after.time >= limit))

    return Environment(start, step, observations=3, actions=4, limit=limit)


# ---- Repeat first, Morad et al. 2023 -----------------------------------------------------------------------------

SUITS = 4


class Deck(NamedTuple):
    """What has been dealt."""

    first: jax.Array  # int [], the suit to remember
    time: jax.Array  # int [], cards since the first one


def repeat_first(cards: int) -> Environment:
    """Cards are dealt; at each of them the suit of the first one, which was marked as such, is asked for."""

    def show(suit: jax.Array, marked: float) -> jax.Array:
        return jnp.append(jax.nn.one_hot(suit, SUITS), marked)

    def start(key: jax.Array) -> tuple[Deck, jax.Array]:
        suit = jax.random.randint(key, (), 0, SUITS)
        return Deck(suit, jnp.int32(0)), show(suit, 1.0)

    def step(key: jax.Array, deck: Deck, action: jax.Array) -> Step:
        after = deck._replace(time=deck.time + 1)
        reward = jnp.where(action == deck.first, 1.0, -1.0) / cards
        return Step(after, show(jax.random.randint(key, (), 0, SUITS), 0.0), reward, after.time >= cards)

    return Environment(start, step, observations=SUITS + 1, actions=SUITS, limit=cards)


# ---- Noisy stateless cart-pole, Barto et al. 1983, Morad et al. 2023 ----------------------------------------------

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
FARTHEST, STEEPEST = 2.4, 12 * jnp.pi / 180  # metres and radians at which an episode ends


class CartPole(NamedTuple):
    """The motion of a cart with a pole on it."""

    x: jax.Array  # [] metres
    speed: jax.Array  # [] metres per second
    angle: jax.Array  # [] radians from upright
    turning: jax.Array  # [] radians per second
    time: jax.Array  # int [], steps so far


def cart_pole(noise: float, limit: int) -> Environment:
    """A pole is to be kept upright, where place and angle are seen in noise, and no speeds.

    Place and angle are seen as shares of those at which an episode ends; so is the standard deviation of the noise.
    """

    def look(key: jax.Array, cart: CartPole) -> jax.Array:
        return jnp.stack([cart.x / FARTHEST, cart.angle / STEEPEST]) + noise * jax.random.normal(key, (2,))

    def start(key: jax.Array) -> tuple[CartPole, jax.Array]:
        key_cart, key_noise = jax.random.split(key)
        cart = CartPole(*jax.random.uniform(key_cart, (4,), minval=-0.05, maxval=0.05), jnp.int32(0))
        return cart, look(key_noise, cart)

    def step(key: jax.Array, cart: CartPole, action: jax.Array) -> Step:
        after = move(cart, jnp.where(action == 1, FORCE, -FORCE))
        fallen = (jnp.abs(after.x) > FARTHEST) | (jnp.abs(after.angle) > STEEPEST)
        return Step(after, look(key, after), jnp.float32(1 / limit), fallen | (after.time >= limit))

    return Environment(start, step, observations=2, actions=2, limit=limit)


def move(cart: CartPole, force: jax.Array) -> CartPole:
    """The cart-pole a fiftieth of a second later, by Euler's method."""
    sine, cosine, mass = jnp.sin(cart.angle), jnp.cos(cart.angle), CART + POLE
    pushed = (force + POLE * HALF_LENGTH * cart.turning**2 * sine) / mass
    of_angle = (GRAVITY * sine - cosine * pushed) / (HALF_LENGTH * (4 / 3 - POLE * cosine**2 / mass))
    of_x = pushed - POLE * HALF_LENGTH * of_angle * cosine / mass
    return CartPole(
        cart.x + SECONDS * cart.speed,
        cart.speed + SECONDS * of_x,
        cart.angle + SECONDS * cart.turning,
        cart.turning + SECONDS * of_angle,
        cart.time + 1,
    )
