"""fit over a vmapped step: R models side by side are R runs of their own."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_same
from training_helpers import assert_close, batches, first_params, interrupt_at, linear_loss, lines, noisy_loss

from rnnjax.training import Checkpoints, fit, init_state, make_train_step, restore_params

pytestmark = pytest.mark.usefixtures("standard_promotion")  # inject_hyperparams of optax needs it
RATES = (0.03, 0.1, 0.2)
OPTIMIZER = optax.inject_hyperparams(optax.sgd)(learning_rate=0.0)  # the state holds the rate


def state_of(rate, seed):
    params = jax.tree.map(lambda leaf: leaf * (1 + jnp.asarray(seed, leaf.dtype)), first_params())
    return init_state(params, optax.inject_hyperparams(optax.sgd)(learning_rate=rate), key=jax.random.key(seed))


def several(rates=RATES):
    return jax.vmap(state_of)(jnp.asarray(rates), jnp.arange(len(rates)))


def run(state, loss_fn=noisy_loss, **options):
    step = make_train_step(loss_fn, OPTIMIZER)
    step = jax.vmap(step, in_axes=(0, None)) if state.step.ndim else step
    return fit(step, state, options.pop("batches", batches), **{"steps": 11, "progress": False, **options})


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_several_models_are_several_runs(tmp_path, steps_per_call):
    result = run(several(), steps_per_call=steps_per_call, metrics_file=tmp_path / "all")
    assert (result.step, result.stopped, result.bad_step) == (11, "steps", None)
    written = lines(tmp_path / "all")
    for r, rate in enumerate(RATES):
        alone = run(state_of(rate, r), metrics_file=tmp_path / str(r))
        assert_close(jax.tree.map(lambda leaf, r=r: leaf[r], result.state.params), alone.state.params)
        assert_close(jax.tree.map(lambda leaf, r=r: leaf[r], result.best_params), alone.state.params)
        for one, all_of_them in zip(lines(tmp_path / str(r)), written, strict=True):
            for name in ("loss", "grad_norm"):
                np.testing.assert_allclose(all_of_them[name][r], one[name], rtol=1e-5)


def test_the_bar_shows_the_best_and_evaluations_their_range(capfd):
    def evaluate(state):
        return {"loss": 0.5 * jnp.arange(1.0, 4.0), "models": 3}

    seen = []
    result = run(several(), evaluate=evaluate, progress=True, unit="row", callbacks=[(11, seen.append)])
    shown = capfd.readouterr()
    assert "best of 3, " in shown.err
    assert shown.out == "step 11: loss 0.5 to 1.5, models 3\n"
    assert result.metrics["loss"].tolist() == [0.5, 1.0, 1.5]
    assert f"loss {seen[0].loss.min():.3g}, best of 3" in shown.err and seen[0].loss.shape == (3,)


@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_a_run_goes_on_while_one_model_is_finite(tmp_path, steps_per_call):
    def loss_fn(params, batch, *, key):
        return linear_loss(params, batch, key=key)

    rates = (1e30, 0.1, 1e25)
    result = run(several(rates), loss_fn, steps_per_call=steps_per_call, metrics_file=tmp_path / "m")
    assert (result.step, result.stopped) == (11, "steps")
    losses = [
        json.loads(line, parse_constant=pytest.fail)["loss"] for line in (tmp_path / "m").read_text().splitlines()
    ]
    assert losses[-1][0] is None and losses[-1][2] is None and np.isfinite(losses[-1][1])
    assert np.all(np.isfinite(result.state.params["w"][1])) and not np.all(np.isfinite(result.state.params["w"][0]))


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_a_run_ends_where_no_model_is_finite(steps_per_call):
    def poisoned(step):
        batch = batches(step)
        return batch._replace(y=batch.y * np.nan) if step >= 7 else batch

    result = run(several(), steps_per_call=steps_per_call, batches=poisoned)
    assert (result.step, result.stopped, result.bad_step) == (7, "non_finite", 8)
    assert_close(result.state.params, run(several(), steps=7).state.params)


@pytest.mark.slow
def test_several_models_are_saved_and_resumed(tmp_path):
    whole = run(several())
    with Checkpoints(tmp_path) as checkpoints:
        run(several(), checkpoints=checkpoints, callbacks=[(5, interrupt_at(5))])
        assert checkpoints.steps() == [5]
        resumed = run(several(), checkpoints=checkpoints, resume=True)
    assert_same(resumed.state.params, whole.state.params)
    assert_same(restore_params(tmp_path, jax.eval_shape(several).params).tree, whole.state.params)


def test_several_streams_pass_their_carries_on():
    def loss_fn(params, carry, batch, *, key):
        carry = 0.5 * carry + batch.x.mean()
        parts = linear_loss(params, batch, key=key)
        return carry, parts._replace(sum=parts.sum + carry * params["b"])

    states = several()._replace(carry=jnp.arange(3.0))
    result = run(states, loss_fn)
    for r, rate in enumerate(RATES):
        alone = run(state_of(rate, r)._replace(carry=jnp.float32(r)), loss_fn)
        assert_close(jax.tree.map(lambda leaf, r=r: leaf[r], result.state.carry), alone.state.carry)
        assert_close(jax.tree.map(lambda leaf, r=r: leaf[r], result.state.params), alone.state.params)


def test_models_at_different_steps_are_refused():
    state = several()
    with pytest.raises(ValueError, match=r"expected the step of the state, \[\] or the same for all models \[R\], got"):
        run(state._replace(step=jnp.arange(3)))
