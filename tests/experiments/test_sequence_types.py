"""The five types: tasks whose answers are known, models that differ as their pictures do, and the smoke run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.sequence_types import __main__ as sequence_types
from experiments.sequence_types import models, tasks

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(sequence_types)
SMALL = dataclasses.replace(sequence_types.Config(), cell="rnn", hidden=5)


def called(task, ids):
    """An answer in words."""
    return " ".join(task.outputs[i] for i in task.answer(ids))


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert figures_of(folder) == {"types", "accuracy", "loss", "one_to_one", "encoder_decoder"}
    assert 0 <= result["baseline_accuracy"] <= 1 and 0 <= result["accuracy_encoder_decoder"] <= 1
    text = (folder / "report.md").read_text()
    assert text.count("def ") == 4  # two types, and how answers are written with its step
    *_, with_recurrence, without = text.split("| one to one |")[1].split("|")[:3]
    assert with_recurrence == without  # a single step


def test_answers_are_right():
    largest, words, tone, parity, in_order = tasks.TASKS
    assert called(largest, [3, 7, 0, 7]) == "7"
    numbers = {"zero": 0, "seven": 7, "nineteen": 19, "forty": 40, "four hundred six": 406, "two thousand": 2000}
    numbers |= {"one thousand two hundred thirty four": 1234, "nine thousand ninety nine": 9099}
    assert {called(words, [int(digit) for digit in f"{n:04}"]): n for n in numbers.values()} == numbers
    assert called(tone, [1, 0, 2, 0]) == "neutral" and called(tone, [3, 0, 2]) == "positive"
    assert called(tone, [3, 1, 1, 3, 3, 2, 2]) == "negative"
    assert called(parity, [0, 1, 1, 1]) == "even odd even odd"
    assert called(in_order, [5, 0, 9, 0]) == "0 0 5 9"


@pytest.mark.parametrize("name", tasks.TYPES)
def test_held_out_inputs_are_never_trained_on(name):
    task = tasks.TYPES[name]
    rng = np.random.default_rng(0)
    known, held_out = (tasks.draw(task, 20_000, rng, held_out=which) for which in (False, True))
    columns = [{tuple(column) for column in part.symbols.T.tolist()} for part in (known, held_out)]
    assert not columns[0] & columns[1] and len(columns[1]) == held_out.symbols.shape[1] > 1000
    assert held_out.answers.max() < len(task.outputs) and {*held_out.symbols.ravel()} == {*range(len(task.inputs))}
    if task.model in models.WRITERS:
        assert (held_out.answers[-1] == models.MARK).all() and (held_out.answers[-2] != models.MARK).any()


@pytest.mark.parametrize("name", tasks.TYPES)
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_outputs_depend_on_what_the_picture_says(name, share):
    """On which inputs and earlier symbols each output depends; without recurrence on those of its own step only."""
    task = tasks.TYPES[name]
    cells = sequence_types.make_cells(SMALL, task, share)
    params = models.init(cells, jax.random.key(0))
    rng = np.random.default_rng(1)
    inputs = jnp.asarray(rng.normal(size=(1 if task.at_once else task.length, 3, cells.reader.input_size)), jnp.float32)
    before = jnp.asarray(rng.normal(size=(task.steps, 3, cells.writer.input_size)), jnp.float32)

    @jax.jit
    def jacobians(*xs):
        return jax.jacobian(lambda *xs: task.model(cells, params, *xs).sum(axis=(1, 2)), (0, 1))(*xs)

    reads, writes = (np.abs(found).sum(axis=(2, 3)) > 0 for found in jacobians(inputs, before))  # [T, S], [T, T]
    earlier = np.tri(task.steps, dtype=bool)
    if task.model in models.WRITERS:
        assert (reads == bool(share)).all() and (writes == (earlier if share else np.eye(task.steps, dtype=bool))).all()
    else:
        seen = np.tri(len(inputs), dtype=bool) if share else np.eye(len(inputs), dtype=bool)
        assert not writes.any() and (reads == seen[-task.steps :]).all()


def test_what_is_written_is_the_most_probable_symbol_after_what_was_written():
    task = tasks.TYPES["one_to_many"]
    cells = sequence_types.make_cells(SMALL, task)
    params = models.init(cells, jax.random.key(3))
    params = params._replace(w_y=3 * params.w_y, b_y=params.b_y.at[models.MARK].set(0.7))  # so that some end early
    inputs = sequence_types.encode(task, tasks.draw(task, 13, np.random.default_rng(0), held_out=True).symbols)
    written = np.asarray(models.write(cells, params, inputs, 7))
    before = np.concatenate([np.full_like(written[:1], models.MARK), written[:-1]])
    truth = np.asarray(task.model(cells, params, inputs, jax.nn.one_hot(before, len(task.outputs))).argmax(axis=-1))
    ended = np.cumsum(before[1:] == models.MARK, axis=0) > 0
    np.testing.assert_array_equal(written[0], truth[0])
    np.testing.assert_array_equal(written[1:], np.where(ended, models.MARK, truth[1:]))
    assert len({*map(tuple, written.T.tolist())}) > 1


@pytest.mark.parametrize("changes", [{"cell": "lru"}, {"hidden": 0}, {"seeds": 0}, {"types": ("many",)}])
def test_what_cannot_be_is_one_sentence(changes, tmp_path):
    with pytest.raises(ValueError, match="expected --"):
        sequence_types.main(smoke_config(sequence_types, tmp_path, **changes))
