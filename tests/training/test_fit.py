"""Train steps against updates by hand; fit: calls, callbacks, early stop, NaN guard, its bar."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_same
from training_helpers import (
    SGD,
    STEP,
    B,
    assert_close,
    assert_finite,
    batches,
    exploding,
    first_params,
    first_state,
    interrupt_at,
    linear_loss,
    lines,
    losses_of,
    noisy_loss,
    poisoned_batches,
    run,
)

import rnnjax
from rnnjax.training import Checkpoints, fit, init_state, make_train_step, restore_progress

# ---- steps ---------------------------------------------------------------------------------------------------


def by_hand(params, batch):
    """Loss and gradients of the linear model, in NumPy."""
    w, b = (np.asarray(params[name], np.float64) for name in ("w", "b"))
    error = batch.x @ w + b - batch.y
    return np.mean(error**2), {"w": 2 * batch.x.T @ error / B, "b": 2 * np.mean(error)}


@pytest.mark.slow
def test_a_train_step_equals_the_update_by_hand():
    state, params = first_state(SGD), jax.tree.map(np.float64, first_params())
    for n in range(3):
        state, metrics = STEP(state, batches(n))
        loss, gradients = by_hand(params, batches(n))
        norm = np.sqrt(np.sum(gradients["w"] ** 2) + gradients["b"] ** 2)
        np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
        np.testing.assert_allclose(metrics.grad_norm, norm, rtol=1e-5)
        assert metrics.count == B and state.step == n + 1
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
        assert_close(state.params, params)


def test_the_gradient_norm_is_that_before_clipping():
    clipped = rnnjax.training.get_optimizer("sgd", 0.1, clip_norm=0.01)
    _, metrics = make_train_step(linear_loss, clipped)(first_state(clipped), batches(0))
    _, gradients = by_hand(first_params(), batches(0))
    np.testing.assert_allclose(metrics.grad_norm, np.hypot(np.linalg.norm(gradients["w"]), gradients["b"]), rtol=1e-5)


def test_the_objective_is_what_is_minimised_and_the_loss_stays_the_mean():
    step = make_train_step(linear_loss, SGD, objective=lambda parts: jnp.sqrt(parts.mean))
    state, metrics = step(first_state(SGD), batches(0))
    loss, gradients = by_hand(first_params(), batches(0))
    wanted = jax.tree.map(lambda p, g: p - 0.1 * g / (2 * np.sqrt(loss)), first_params(), gradients)
    assert_close(state.params, wanted)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)


def test_each_step_has_a_key_of_its_own():
    seen = []

    def loss_fn(params, batch, *, key):
        seen.append(jax.random.key_data(key).tolist())
        return linear_loss(params, batch, key=key)

    step, state = make_train_step(loss_fn, SGD), first_state(SGD)
    for n in range(3):
        state, _ = step(state, batches(n))
    make_train_step(loss_fn, SGD)(first_state(SGD, seed=1), batches(0))
    keys = [jax.random.fold_in(jax.random.key(0), n) for n in range(3)]
    assert seen[:3] == [jax.random.key_data(key).tolist() for key in keys]
    assert seen[3] not in seen[:3]
    assert_same(jax.random.key_data(state.key), jax.random.key_data(jax.random.key(0)))


def stream_loss(params, carry, batch, *, key):
    """Two steps of h = tanh(a h + x), and the squared error of c h."""
    errors = []
    for x in batch:
        carry = jnp.tanh(params["a"] * carry + x)
        errors.append((params["c"] * carry - x) ** 2)
    return carry, rnnjax.losses.masked_mean(jnp.stack(errors))


def test_a_step_of_a_stream_passes_the_carry_on_and_cuts_its_gradient():
    params = {"a": jnp.float32(0.9), "c": jnp.float32(-0.4)}
    windows = np.random.default_rng(0).normal(size=(3, 2, B)).astype(np.float32)
    first = jnp.asarray(np.random.default_rng(1).normal(size=B), jnp.float32)
    step = make_train_step(stream_loss, SGD)
    state = init_state(params, SGD, key=jax.random.key(0), carry=first)
    wanted, wanted_carry = params, first
    for window in windows:
        state, metrics = step(state, window)
        constant = np.asarray(wanted_carry)  # a number, through which no gradient flows

        def mean(p, constant=constant, window=window):
            after, parts = stream_loss(p, jnp.asarray(constant), window, key=None)
            return parts.mean, after

        (loss, wanted_carry), gradients = jax.value_and_grad(mean, has_aux=True)(wanted)
        wanted = jax.tree.map(lambda p, g: p - 0.1 * g, wanted, gradients)
        assert_close(state.params, wanted)
        assert_close(state.carry, wanted_carry)
        np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
    assert metrics.count == 2 * B


def test_the_carry_is_not_started_again():
    params = {"a": jnp.float32(0.9), "c": jnp.float32(-0.4)}
    windows = np.random.default_rng(0).normal(size=(5, 2, B)).astype(np.float32)
    state = init_state(params, optax.sgd(0.0), key=jax.random.key(0), carry=jnp.full(B, 0.25))
    result = fit(make_train_step(stream_loss, optax.sgd(0.0)), state, lambda n: windows[n], steps=5, progress=False)
    carry = jnp.full(B, 0.25)
    for x in windows.reshape(10, B):
        carry = jnp.tanh(0.9 * carry + x)
    assert_close(result.state.carry, carry)


ONE, PARTS = np.float32(1.0), rnnjax.losses.SumCount(np.float32(1.0), np.float32(2.0))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (ONE, TypeError, r"a SumCount\(sum, count\), or \(SumCount, aux\), got float32"),
        ((ONE, ONE), TypeError, r"got \(float32, float32\)"),
        ((PARTS, {}, {}), TypeError, r"got \(SumCount, dict, dict\)"),
        (None, TypeError, "got NoneType"),
        ((PARTS, [ONE]), TypeError, "aux of loss_fn to be a dict of numbers by name, got list"),
        ((PARTS, {3: ONE}), TypeError, "aux of loss_fn to be a dict of numbers by name, got dict"),
        ((PARTS, {"loss": ONE}), ValueError, "without the names step, loss, .*, got 'loss'"),
        ((PARTS, {"seen": np.zeros((3, 5))}), ValueError, r"'seen' of aux to be a number \[\], got shape \(3, 5\)"),
    ],
)
def test_a_loss_that_returns_something_else_is_refused(answer, error, message):
    step = make_train_step(lambda params, batch, *, key: answer, SGD)
    with pytest.raises(error, match=message):
        step(first_state(SGD), batches(0))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (PARTS, TypeError, r"\(carry, SumCount\(sum, count\)\) since the state has a carry, got SumCount"),
        ((np.zeros(B, np.float32), ONE), TypeError, "a SumCount.*got float32"),
        (
            (np.zeros(3, np.float32), PARTS),
            ValueError,
            r"a carry of float32\[7\], like that of the state, got float32\[3\]",
        ),
        ((np.zeros(B, np.int32), PARTS), ValueError, r"a carry of float32\[7\], .* got int32\[7\]"),
        (({"h": np.zeros(B, np.float32)}, PARTS), ValueError, r"got \{'h': 'float32\[7\]'\}"),
    ],
)
def test_a_loss_of_a_stream_returns_its_carry(answer, error, message):
    state = first_state(SGD)._replace(carry=jnp.ones(B))
    with pytest.raises(error, match=message):
        make_train_step(lambda params, carry, batch, *, key: answer, SGD)(state, batches(0))


def test_an_optimizer_is_one():
    with pytest.raises(
        TypeError, match="init_state: expected optimizer to be an optax gradient transformation, got float"
    ):
        init_state(first_params(), 0.1, key=jax.random.key(0))
    with pytest.raises(
        TypeError, match="make_train_step: expected optimizer to be an optax gradient transformation, got type"
    ):
        make_train_step(linear_loss, dict)


# ---- fit: calls ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fit_is_the_steps_one_after_the_other():
    state = first_state(SGD)
    for n in range(11):
        state, _ = STEP(state, batches(n))
    result = run()
    assert (result.step, result.stopped, result.bad_step, result.metrics) == (11, "steps", None, {})
    assert_close(result.state.params, state.params)
    assert_same(result.best_params, result.state.params)
    assert result.state.step == 11 and result.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [4, 11, 13])
def test_steps_per_call_does_not_change_the_result(tmp_path, steps_per_call):
    optimizer = rnnjax.training.get_optimizer(
        "sgd", rnnjax.training.get_schedule("linear", 0.2, steps=11, warmup=3), momentum=0.9
    )
    step = make_train_step(noisy_loss, optimizer)
    one = run(step, optimizer, metrics_file=tmp_path / "one")
    many = run(step, optimizer, metrics_file=tmp_path / "many", steps_per_call=steps_per_call)
    assert many.step == many.state.step == 11
    assert_close((one.state.params, one.state.opt_state), (many.state.params, many.state.opt_state))
    assert [line["step"] for line in lines(tmp_path / "many")] == list(range(1, 12))
    np.testing.assert_allclose(
        list(losses_of(tmp_path / "one").values()), list(losses_of(tmp_path / "many").values()), rtol=1e-5
    )


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_every_batch_is_asked_for_once_and_in_order(steps_per_call):
    asked = []
    run(batches=lambda step: asked.append(step) or batches(step), steps_per_call=steps_per_call)
    assert asked == list(range(11))


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_the_step_is_traced_once(steps_per_call):
    count = []

    def loss_fn(params, batch, *, key):
        count.append(1)
        return linear_loss(params, batch, key=key)

    step_fn = make_train_step(loss_fn, SGD)
    first = run(step_fn, steps_per_call=steps_per_call)
    assert len(count) == 1
    again = run(step_fn, steps_per_call=steps_per_call)
    assert len(count) == 1
    assert jax.tree.map(np.array_equal, again.state.params, first.state.params) == {"w": True, "b": True}


def test_a_step_may_be_a_callable_that_cannot_be_hashed():
    class Step(dict):
        def __call__(self, state, batch):
            return make_train_step(linear_loss, SGD)(state, batch)

    assert run(Step()).step == 11


@pytest.mark.parametrize(
    ("steps_per_call", "every_3", "every_5"), [(1, [3, 6, 9, 11], [5, 10, 11]), (4, [4, 8, 11], [8, 11])]
)
def test_callbacks_and_evaluations_come_at_their_steps(tmp_path, steps_per_call, every_3, every_5):
    called, evaluated = [], []

    def callback(snapshot):
        assert snapshot.step == snapshot.state.step
        called.append((snapshot.step, snapshot.loss))

    def evaluate(state):
        evaluated.append(int(state.step))
        return {"held_out_loss": jnp.float32(state.step)}

    result = run(
        steps_per_call=steps_per_call,
        callbacks=[(3, callback)],
        evaluate=evaluate,
        evaluate_every=5,
        metrics_file=tmp_path / "metrics",
    )
    assert [step for step, _ in called] == every_3
    assert evaluated == every_5
    assert result.metrics == {"held_out_loss": 11.0}
    written = lines(tmp_path / "metrics")
    assert [line["step"] for line in written if "held_out_loss" in line] == every_5
    assert all(losses_of(tmp_path / "metrics")[step] == loss for step, loss in called)


def watched_loss(params, batch, *, key):
    error = batch.x @ params["w"] + params["b"] - batch.y
    large = rnnjax.losses.masked_mean((jnp.abs(error) > 0.5).astype(jnp.float32))
    return linear_loss(params, batch, key=key), {"worst": jnp.max(jnp.abs(error)), "large": large}


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_aux_of_the_loss_is_in_the_metrics_file_and_on_the_bar(tmp_path, capfd, steps_per_call):
    result = run(
        make_train_step(watched_loss, SGD),
        steps_per_call=steps_per_call,
        metrics_file=tmp_path / "metrics",
        progress=True,
    )
    assert_close(result.state.params, run().state.params)
    written = lines(tmp_path / "metrics")
    assert [line["step"] for line in written] == list(range(1, 12))
    for line in written:
        n = line["step"] - 1
        params = run(steps=n).state.params if n else first_params()
        error = np.abs(batches(n).x @ params["w"] + params["b"] - batches(n).y)
        np.testing.assert_allclose([line["worst"], line["large"]], [error.max(), np.mean(error > 0.5)], rtol=1e-5)
    assert f"large {written[-1]['large']:.3g}, worst {written[-1]['worst']:.3g}, " in capfd.readouterr().err


def test_evaluations_are_shown_as_they_come(capfd):
    run(evaluate=lambda state: {"accuracy": 0.98765, "at": state.step}, evaluate_every=4, progress=True)
    assert capfd.readouterr().out.splitlines() == [f"step {step}: accuracy 0.9877, at {step}" for step in (4, 8, 11)]


@pytest.mark.parametrize(
    ("evaluation", "error", "message"),
    [
        (0.5, TypeError, "expected evaluate to return a dict of numbers by name, got float"),
        ({"accuracy": "high"}, TypeError, "expected evaluate to return numbers by name, got str for 'accuracy'"),
        ({"step": 3}, ValueError, "expected evaluate to return names other than 'step'"),
        (
            {"held_out_loss": np.zeros(3)},
            ValueError,
            r"expected 'held_out_loss' to be one number for patience, got shape \(3,\)",
        ),
    ],
)
def test_an_evaluation_is_numbers_by_name(evaluation, error, message):
    with pytest.raises(error, match=f"fit: {message}"):
        run(evaluate=lambda state: evaluation, evaluate_every=3, patience=2)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ((print, 3), r"to be pairs \(every, call\), got \(builtin_function_or_method, int\)"),
        ((3, None), r"to be pairs \(every, call\), got \(int, NoneType\)"),
        ((2.5, print), r"to be pairs \(every, call\), got \(float, builtin_function_or_method\)"),
        (print, r"to be pairs \(every, call\), got builtin_function_or_method"),
    ],
)
def test_callbacks_are_pairs(callback, message):
    with pytest.raises(TypeError, match=f"fit: expected callbacks {message}"):
        run(callbacks=[callback])


@pytest.mark.parametrize(
    ("step_fn", "message"),
    [
        (None, "expected step_fn to be a function, got NoneType"),
        (lambda state, batch: PARTS, r"expected step_fn to return \(TrainState, Metrics\), got SumCount"),
        (lambda state, batch: (state, PARTS), r"expected step_fn to return \(TrainState, Metrics\), got tuple"),
    ],
)
def test_a_step_returns_a_state_and_metrics(step_fn, message):
    with pytest.raises(TypeError, match=f"fit: {message}"):
        run(step_fn)


def test_a_state_is_one():
    with pytest.raises(TypeError, match="fit: expected state to be a TrainState, got dict; init_state makes one"):
        fit(STEP, first_params(), batches, steps=3)


def test_there_is_an_evaluation_at_the_end_in_any_case():
    assert run(evaluate=lambda state: {"accuracy": 0.5 * int(state.step)}).metrics == {"accuracy": 5.5}


def test_metrics_lines(tmp_path):
    run(metrics_file=tmp_path / "metrics", log_every=3)
    written = lines(tmp_path / "metrics")
    assert [line["step"] for line in written] == [3, 6, 9]
    assert all(set(line) == {"step", "loss", "grad_norm", "tokens_per_second"} for line in written)
    state = first_state(SGD)
    for n in range(3):
        state, metrics = STEP(state, batches(n))
    np.testing.assert_allclose([written[0]["loss"], written[0]["grad_norm"]], metrics[0::2], rtol=1e-5)
    assert written[-1]["tokens_per_second"] > 0


# ---- fit: early stop -----------------------------------------------------------------------------------------

HELD_OUT = {3: 5.0, 6: 4.0, 9: 4.5, 12: 4.0, 15: 1.0}  # at 12 no better than the best


def scripted(state):
    return {"held_out_loss": HELD_OUT.get(int(state.step), 9.0), "other": 1.0}


def test_early_stop_returns_the_best_parameters():
    seen = {}
    result = run(
        steps=15,
        evaluate=scripted,
        evaluate_every=3,
        patience=2,
        callbacks=[(3, lambda snapshot: seen.update({snapshot.step: snapshot.state.params}))],
    )
    assert (result.stopped, result.step) == ("patience", 12)
    assert_same(result.best_params, seen[6])
    assert_same(result.state.params, seen[12])
    assert np.any(np.asarray(seen[6]["w"]) != np.asarray(seen[12]["w"]))


def test_an_improvement_starts_patience_again():
    result = run(steps=15, evaluate=scripted, evaluate_every=3, patience=3)
    assert (result.stopped, result.step) == ("steps", 15)
    assert_same(result.best_params, result.state.params)


def test_a_held_out_loss_of_nan_is_no_improvement():
    result = run(steps=15, evaluate=lambda state: {"held_out_loss": np.nan}, evaluate_every=3, patience=2)
    assert (result.stopped, result.step) == ("patience", 6)


def test_early_stop_is_remembered_by_a_checkpoint(tmp_path):
    options = {"steps": 15, "evaluate": scripted, "evaluate_every": 3, "patience": 2}
    whole = run(**options)
    with Checkpoints(tmp_path / "c") as checkpoints:
        interrupted = run(**options, checkpoints=checkpoints, callbacks=[(10, interrupt_at(10))])
        assert (interrupted.stopped, interrupted.step) == ("interrupted", 10)
        resumed = run(**options, checkpoints=checkpoints, resume=True)
    assert (resumed.stopped, resumed.step) == ("patience", 12)
    assert_same(resumed.best_params, whole.best_params)


def test_patience_needs_a_held_out_loss():
    with pytest.raises(ValueError, match="expected evaluate to return 'held_out_loss' for patience, got accuracy"):
        run(evaluate=lambda state: {"accuracy": 1.0}, evaluate_every=3, patience=2)


@pytest.mark.parametrize("options", [{}, {"evaluate_every": 3}, {"evaluate": scripted}])
def test_patience_without_evaluations_is_refused(options):
    with pytest.raises(ValueError, match="patience"):
        run(steps=12, patience=2, **options)


# ---- fit: NaN guard ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [1, 4])
@pytest.mark.parametrize("bad", [0, 2, 6, 8, 10])  # first, inside and last of a call
def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(steps_per_call, bad):
    result = run(batches=poisoned_batches(bad), steps_per_call=steps_per_call)
    assert (result.stopped, result.bad_step, result.step) == ("non_finite", bad + 1, bad)
    assert result.state.step == bad
    assert_finite(result.state.params)
    wanted = run(steps=bad).state.params if bad else first_params()
    assert_close(result.state.params, wanted)


def test_a_gradient_that_is_not_finite_stops_too():
    def loss_fn(params, batch, *, key):
        parts = linear_loss(params, batch, key=key)
        root = jnp.sqrt(params["w"][0] * 0)  # finite, with a gradient that is not
        return parts._replace(sum=parts.sum + root)

    result = run(make_train_step(loss_fn, SGD))
    assert (result.stopped, result.bad_step, result.step) == ("non_finite", 1, 0)
    assert_same(result.state.params, first_params())


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [1, 2, 3, 4])
def test_parameters_poisoned_a_step_earlier_are_not_returned(steps_per_call):
    step, optimizer = exploding(5)
    result = run(step, optimizer, steps_per_call=steps_per_call)
    assert (result.stopped, result.bad_step, result.step) == ("non_finite", 7, 5)
    assert_finite(result.state.params)
    assert_close(result.state.params, run(steps=5).state.params)


def test_parameters_poisoned_by_the_first_update_give_back_the_first_state():
    step, optimizer = exploding(0)
    result = run(step, optimizer)
    assert (result.stopped, result.bad_step, result.step) == ("non_finite", 2, 0)
    assert_same(result.state.params, first_params())


def test_parameters_poisoned_by_the_last_update_are_noticed():
    step, optimizer = exploding(10)
    result = run(step, optimizer)
    assert result.stopped == "non_finite" and result.step == 10
    assert_finite(result.state.params)


@pytest.mark.slow
@pytest.mark.parametrize(("steps_per_call", "every"), [(1, 1), (1, 3), (2, 2), (3, 3), (4, 4)])
@pytest.mark.parametrize("poison", ["batch", "learning rate"])
def test_the_newest_checkpoint_after_a_bad_step_is_a_good_one(tmp_path, steps_per_call, every, poison):
    if poison == "batch":
        step, optimizer, data, good = STEP, SGD, poisoned_batches(6), 6
    else:
        (step, optimizer), data, good = exploding(5), batches, 5
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        result = run(
            step,
            optimizer,
            batches=data,
            steps_per_call=steps_per_call,
            checkpoints=checkpoints,
            checkpoint_every=every,
        )
        assert (result.stopped, result.bad_step, result.step) == ("non_finite", 7, good)
        restored = restore_progress(checkpoints, first_state(optimizer))
    assert_finite(restored.state.params)
    assert restored.state.step == good
    assert_same(restored.state.params, result.state.params)


# ---- fit: the bar, errors ------------------------------------------------------------------------------------


def test_the_progress_bar_shows_loss_bits_and_speed(capfd):
    result = run(progress=True, unit="char")
    shown = capfd.readouterr().err
    loss = float(STEP(run(steps=10).state, batches(10))[1].loss)
    assert result.step == 11 and "11/11" in shown
    assert f"loss {loss:.3f}, {loss / math.log(2):.3f} bits/char, " in shown and "char/s" in shown


def test_no_progress_bar_if_it_is_not_wanted(capfd):
    run(progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["steps", "steps_per_call", "log_every", "evaluate_every", "checkpoint_every", "patience"]
)
@pytest.mark.parametrize("value", [0, -3])
def test_intervals_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"fit: expected {name} to be positive, got {value}"):
        run(**{name: value})


@pytest.mark.parametrize("every", [0, -2])
def test_intervals_of_callbacks_must_be_positive(every):
    with pytest.raises(ValueError, match="positive"):
        run(callbacks=[(every, lambda snapshot: None)])
