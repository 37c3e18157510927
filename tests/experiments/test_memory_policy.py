"""Memory policies: the environments step by step, the estimates, and an actor and a learner that are one function."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.memory_policy import __main__ as memory_policy
from experiments.memory_policy import environments, figures, ppo
from experiments.memory_policy.environments import EAST, NORTH, SOUTH, WEST
from rnnjax.recurrence import resets_from_done

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(memory_policy)
SMALL = dataclasses.replace(
    memory_policy.Config(), hidden=5, corridor=3, cards=5, limit=23, environments=6, length=13, minibatches=2
)
KEY = jax.random.key(3)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    names = ["return_irnn", "return_off_by_one", "success_irnn", "success_off_by_one"]
    assert [*result] == [*names, "out"] and all(-2 < result[name] <= 1 for name in names)
    assert figures_of(folder) == {"curves", "gap"}
    for agent in memory_policy.SMOKE["agents"]:
        assert len((folder / f"t_maze-{agent}" / "metrics.jsonl").read_text().splitlines()) == 3
    text = (folder / "report.md").read_text()
    assert text.count("| T-maze") == 3 and "a return of 0.487" in text


@pytest.mark.slow
def test_a_resumed_run_reads_what_was_trained(smoke, monkeypatch):
    folder, result = smoke
    monkeypatch.setattr(ppo, "make_optimizer", lambda _: optax.set_to_zero())  # with which another policy comes out
    again = memory_policy.main(smoke_config(memory_policy, folder, resume=True))
    assert again == result


# ---- environments ------------------------------------------------------------------------------------------------


def play(environment, actions, key=KEY):
    """Takes actions one by one: the first state and observation, and the steps."""
    state, first = environment.start(key)
    steps = []
    for number, action in enumerate(actions):
        steps.append(environment.step(jax.random.fold_in(key, number), state, jnp.int32(action)))
        state = steps[-1].state
    return first, steps


def mazes(corridor=3):
    """A key for each place of the goal: south, north."""
    maze = environments.t_maze(corridor)
    keys = {bool(maze.start(key)[0].north): key for key in jax.random.split(KEY, 20)}
    return maze, (keys[False], keys[True])


@pytest.mark.parametrize("north", [False, True])
def test_the_t_maze_is_walked_as_bakker_says(north):
    maze, keys = mazes()
    goal, other = (NORTH, SOUTH) if north else (SOUTH, NORTH)
    actions = [NORTH, WEST, EAST, SOUTH, EAST, WEST, EAST, EAST, EAST, goal]
    first, steps = play(maze, actions, keys[north])
    sign, corridor, end = [0, 1, 1] if north else [1, 1, 0], [1, 0, 1], [0, 1, 0]
    assert first.tolist() == sign
    expected = [sign, sign, corridor, corridor, corridor, corridor, corridor, end, end, end]
    assert [step.observation.tolist() for step in steps] == expected
    bumps = [1, 1, 0, 1, 0, 0, 0, 0, 1]
    np.testing.assert_allclose([step.reward for step in steps], [-0.025 * bump for bump in bumps] + [1], atol=1e-7)
    assert [bool(step.done) for step in steps] == [False] * 9 + [True]
    _, steps = play(maze, [EAST, EAST, EAST, other], keys[north])
    assert float(steps[-1].reward) == pytest.approx(-0.025) and bool(steps[-1].done)


def test_an_episode_in_the_t_maze_ends_in_time():
    maze, keys = mazes()
    _, steps = play(maze, [WEST] * maze.limit, keys[0])
    assert maze.limit == 12 and [bool(step.done) for step in steps] == [False] * 11 + [True]


def test_repeat_first_asks_for_the_marked_card():
    game = environments.repeat_first(5)
    state, _ = game.start(KEY)
    suit = int(state.first)
    first, steps = play(game, [suit, suit, (suit + 1) % 4, suit, (suit + 3) % 4])
    assert first.tolist() == [*np.eye(4)[suit], 1]
    np.testing.assert_allclose([step.reward for step in steps], [0.2, 0.2, -0.2, 0.2, -0.2], rtol=1e-6)
    assert [bool(step.done) for step in steps] == [False] * 4 + [True]
    shown = np.array([step.observation for step in steps])
    assert (shown[:, 4] == 0).all() and (shown[:, :4].sum(axis=1) == 1).all()
    suits = {int(play(game, [0], key)[1][0].observation[:4].argmax()) for key in jax.random.split(KEY, 40)}
    assert suits == {0, 1, 2, 3}


def test_the_cart_pole_moves_by_the_equations_of_motion():
    at_rest = environments.CartPole(*jnp.zeros(4), jnp.int32(0))
    pushed = environments.move(at_rest, 10.0)  # by hand: 9.756 and -14.634 per second and second, for a fiftieth
    np.testing.assert_allclose(pushed[:4], [0, 0.195122, 0, -0.292683], atol=1e-6)
    rng = np.random.default_rng(0)
    for force in (10.0, -10.0):
        x, speed, angle, turning = before = rng.normal(size=4)
        with jax.enable_x64(True):
            after = np.array(environments.move(environments.CartPole(*jnp.array(before), 7), force)[:4])
        np.testing.assert_allclose(after[[0, 2]], [x + 0.02 * speed, angle + 0.02 * turning], rtol=1e-12)
        of_x, of_angle = (after[[1, 3]] - [speed, turning]) / 0.02
        along = 1.1 * of_x + 0.05 * (of_angle * np.cos(angle) - turning**2 * np.sin(angle))
        np.testing.assert_allclose(along, force, rtol=1e-10)  # of cart and pole together
        np.testing.assert_allclose(0.5 * 4 / 3 * of_angle + of_x * np.cos(angle), 9.8 * np.sin(angle), rtol=1e-10)


def test_the_cart_pole_falls_or_ends_in_time_and_hides_its_speeds():
    pole = environments.cart_pole(0.0, 200)
    first, steps = play(pole, [1] * 13)
    done = [bool(step.done) for step in steps]
    fallen, angles = done.index(True), [abs(float(step.state.angle)) for step in steps]
    assert 7 <= fallen < 12 and angles[fallen] > environments.STEEPEST >= angles[fallen - 1]
    assert first.shape == (2,)
    for step in steps:
        seen = [step.state.x / 2.4, step.state.angle / environments.STEEPEST]
        np.testing.assert_allclose(step.observation, seen, rtol=1e-6)
    np.testing.assert_allclose([step.reward for step in steps], 1 / 200)
    _, steps = play(environments.cart_pole(0.0, 6), [0, 1] * 3)
    assert [bool(step.done) for step in steps] == [False] * 5 + [True]
    noisy = environments.cart_pole(0.5, 200)
    off = np.array([noisy.start(key)[1] for key in jax.random.split(KEY, 200)])
    assert abs(off.mean()) < 0.1 and abs(off.std() - 0.5) < 0.05


def test_another_episode_follows_the_last_step():
    game = environments.and_start_again(environments.repeat_first(3))
    _, steps = play(game, [0] * 7)
    assert [bool(step.done) for step in steps] == [False, False, True] * 2 + [False]
    assert [int(step.observation[4]) for step in steps] == [0, 0, 1] * 2 + [0]  # the first card of another deck
    assert [int(step.state.time) for step in steps] == [1, 2, 0] * 2 + [1]
    assert len({int(step.state.first) for step in play(game, [0] * 40)[1]}) > 1


# ---- learning ----------------------------------------------------------------------------------------------------


def test_advantages_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 11, 3)).astype(np.float32)
    done, last = rng.random((11, 3)) < 0.3, rng.normal(size=3).astype(np.float32)
    steps = ppo.Steps(None, None, None, jnp.array(value), jnp.array(reward), jnp.array(done), None)
    got = ppo.advantages(steps, jnp.array(last), 0.9, 0.7)
    for row in range(3):
        for t in range(11):
            total, weight = 0.0, 1.0
            for s in range(t, 11):
                following = last[row] if s == 10 else value[s + 1, row]
                total += weight * (reward[s, row] + 0.9 * (not done[s, row]) * following - value[s, row])
                weight *= 0.9 * 0.7 * (not done[s, row])
            assert got[t, row] == pytest.approx(total, abs=1e-5)


def recorded(agent, *, before=5):
    """A rollout that begins in the middle of episodes: environment, cell, params, the actor before and after, steps."""
    environment = memory_policy.make_task(SMALL, "repeat_first")
    cell = memory_policy.make_network(SMALL, agent, environment.observations)
    params = ppo.init(cell, environment.actions, KEY)
    params = params._replace(w=20 * params.w)  # so that the carry makes a difference
    run = jax.jit(lambda actor, keys: ppo.roll_out(environment, cell, params, actor, keys))
    actor, _ = run(ppo.begin(environment, cell, 6, KEY), jax.random.split(jax.random.key(4), before))
    after, steps = run(actor, jax.random.split(jax.random.key(5), 13))
    return environment, cell, params, actor, after, steps


@pytest.mark.parametrize(("agent", "same"), [("recurrent", True), ("memoryless", True), ("off_by_one", False)])
@pytest.mark.parametrize("before", [5, 7])  # whether the rollout begins with an episode
def test_the_learner_is_the_actor_unless_done_is_off_by_one(agent, same, before):
    _, cell, params, actor, _, steps = recorded(agent, before=before)
    assert steps.done.any() and bool(actor.done.all()) is (before == 5)
    resets = memory_policy.make_resets(agent)(steps.done, actor.done)
    lesson = ppo.Lesson(actor.carry, resets, steps, jnp.ones((13, 6)))
    _, gap = jax.jit(lambda p: ppo.loss(SMALL, cell, p, lesson))(params)
    assert (gap < 1e-6) if same else (gap > 1e-3)


def test_before_an_update_the_gradient_is_that_of_the_policy():
    _, cell, params, actor, _, steps = recorded("recurrent")
    advantage = jnp.array(np.random.default_rng(0).normal(size=(13, 6)), jnp.float32)
    lesson = ppo.Lesson(actor.carry, resets_from_done(steps.done, actor.done), steps, advantage)
    config = dataclasses.replace(SMALL, value_weight=0.0, entropy_weight=0.0)

    def plain(params):
        carry, total = actor.carry, 0.0
        for t in range(13):
            begins = actor.done if t == 0 else steps.done[t - 1]
            now = actor._replace(carry=carry, observation=steps.observation[t], done=begins)
            carry, logits, _ = ppo.act(cell, params, now)
            log_probs = jax.nn.log_softmax(logits)[jnp.arange(6), steps.action[t]]
            total -= jnp.sum(log_probs * (advantage[t] - advantage.mean()) / advantage.std())
        return total / (13 * 6)

    got = jax.jit(jax.grad(lambda p: ppo.loss(config, cell, p, lesson)[0]))(params)
    expected = jax.jit(jax.grad(plain))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), got, expected)


def test_what_is_recorded_adds_up():
    _, _, _, actor, after, steps = recorded("recurrent", before=7)
    total = np.array(actor.return_)
    for t in range(13):
        total = total + np.array(steps.reward[t])
        np.testing.assert_allclose(steps.return_[t], total, atol=1e-6)
        total = np.where(steps.done[t], 0.0, total)
    np.testing.assert_allclose(after.return_, total, atol=1e-6)
    np.testing.assert_array_equal(after.done, steps.done[-1])


def test_a_policy_is_measured_in_one_episode_of_each_environment():
    environment = memory_policy.make_task(SMALL, "cart_pole")
    cell = memory_policy.make_network(SMALL, "memoryless", environment.observations)
    params = ppo.init(cell, environment.actions, KEY)
    returns = np.asarray(jax.jit(ppo.make_evaluate(environment, cell, 37))(params, KEY))
    steps = returns * 23
    np.testing.assert_allclose(steps, steps.round(), atol=1e-4)
    assert returns.shape == (37,) and 7 <= steps.min() < steps.max() <= 23.001


@pytest.mark.slow
def test_seeds_side_by_side_are_runs_of_their_own():
    config = dataclasses.replace(SMALL, updates=3, epochs=2)
    environment = memory_policy.make_task(config, "t_maze")
    cell = memory_policy.make_network(config, "recurrent", environment.observations)
    train = ppo.make_train(config, environment, cell, resets_from_done)
    keys = jax.random.split(KEY, 2)
    both, alone = jax.jit(jax.vmap(train))(keys), jax.jit(train)(keys[1])
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-3, atol=1e-4)
    start = ppo.init(cell, environment.actions, jax.random.split(keys[1], 3)[0])
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(alone.params), strict=True))
    assert (alone.gap < 1e-5).all()


def test_running_means_leave_out_what_is_not_known():
    values = np.array([[1.0, np.nan, 3.0, 5.0], [np.nan, np.nan, 2.0, 2.0]])
    np.testing.assert_array_equal(figures.smooth(values, 2), [[1, 3, 4], [np.nan, 2, 2]])


def test_a_curve_may_begin_with_rollouts_in_which_no_episode_ends(tmp_path):
    curves = np.array([[np.nan, 0.2, 0.3], [np.nan, np.nan, 0.5]])
    learned = memory_policy.Learned(curves, np.full((2, 3), 1e-7), np.ones((2, 5)))
    figures.draw_curves(tmp_path, {"t_maze": {"recurrent": learned}}, 100)  # warnings are errors here
    assert (tmp_path / "curves.png").exists()


def test_intervals_over_seeds_are_students():
    found = memory_policy.over_seeds(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, [2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"tasks": ("chess",)}, {"agents": ()}, {"cell": "lru"}, {"seeds": 1}, {"minibatches": 5}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_is_one_sentence(changes, tmp_path):
    with pytest.raises(ValueError, match="expected --"):
        memory_policy.main(smoke_config(memory_policy, tmp_path, **changes))
