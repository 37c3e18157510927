"""Modules of both of Flax's APIs: equal to the pure functions inside, and at home in Flax's own RNN and scan."""

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, noisy, normal

import rnnjax
from rnnjax.flax import linen, nnx

T, B, F, H = 7, 3, 3, 5
KEY = jax.random.key(0)
LENGTHS = jnp.array([T, 0, 4])
XS = normal(1, B, T, F)
pytestmark = pytest.mark.usefixtures("standard_promotion")


def bind(module, inputs=XS, **kwargs):
    """A linen module as a function, with noise on its parameters, and these."""
    variables = noisy(module.init(KEY, inputs, **kwargs), seed=5)
    return lambda *args, **options: module.apply(variables, *args, **options), variables["params"]


def perturbed(module):
    """An nnx module with noise on its parameters."""
    flax.nnx.update(module, noisy(flax.nnx.state(module, flax.nnx.Param), seed=5))
    return module


def make_rnn(api, cell, **options):
    """`(run, rnnjax cell, params)` of an RNN of this cell class."""
    if api == "nnx":
        rnn = perturbed(nnx.RNN(getattr(nnx, cell)(F, H, rngs=flax.nnx.Rngs(0)), **options))
        return rnn, rnn.cell.cell, nnx.unwrap(rnn.cell.params)
    module = linen.RNN(getattr(linen, cell)(H), **options)
    run, params = bind(module)
    return run, module.cell.make(F, H), params["cell"]["cell"]


both = pytest.mark.parametrize("api", ["nnx", "linen"])
every_cell = pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell", "SimpleCell"])


def as_flax(carry):
    return (carry.c, carry.h) if hasattr(carry, "c") else carry.h


# ---- RNN -----------------------------------------------------------------------------------------------------


@both
@every_cell
def test_rnn_is_unroll_with_any_lengths(api, cell):
    run, pure, params = make_rnn(api, cell, return_carry=True)
    carry, ys = run(XS, seq_lengths=LENGTHS)
    expected, expected_ys = rnnjax.unroll(pure, params, XS, lengths=LENGTHS, time_major=False)
    assert_close((carry, ys), (as_flax(expected), expected_ys))
    assert not np.asarray(jax.tree.leaves(carry)[0][1]).any()  # of length 0: the initial carry


@both
def test_rnn_takes_several_batch_axes(api):
    run, pure, params = make_rnn(api, "LSTMCell", return_carry=True)
    xs, lengths = normal(2, 2, B, T, F), jnp.array([[T, 1, 0], [2, T, 5]])
    carry, ys = run(xs, seq_lengths=lengths)
    for row in range(2):
        expected, expected_ys = rnnjax.unroll(pure, params, xs[row], lengths=lengths[row], time_major=False)
        assert_close((jax.tree.map(lambda leaf, row=row: leaf[row], carry), ys[row]), (as_flax(expected), expected_ys))


@both
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("keep_order", [False, True])
def test_a_reversed_rnn_reads_each_row_from_its_end(api, lengths, keep_order):
    run, pure, params = make_rnn(api, "GRUCell", reverse=True, keep_order=keep_order, return_carry=True)
    carry, ys = run(XS, seq_lengths=lengths)
    for row in range(B):
        length = T if lengths is None else int(lengths[row])
        last, expected = rnnjax.unroll(pure, params, XS[row, :length][::-1])
        assert_close(carry[row], last.h)
        assert_close(ys[row, :length], expected[::-1] if keep_order else expected)


@both
def test_time_major_and_a_given_carry(api):
    run, pure, params = make_rnn(api, "LSTMCell", time_major=True)
    c, h = normal(3, B, H), normal(4, B, H)
    carry, ys = run(jnp.swapaxes(XS, 0, 1), initial_carry=(c, h), return_carry=True)
    expected, expected_ys = rnnjax.unroll(pure, params, jnp.swapaxes(XS, 0, 1), rnnjax.LSTMCarry(h, c))
    assert_close((carry, ys), (as_flax(expected), expected_ys))


@every_cell
def test_cells_run_in_the_rnn_and_scan_of_nnx(cell):
    module = perturbed(getattr(nnx, cell)(F, H, rngs=flax.nnx.Rngs(0)))
    expected = nnx.RNN(module, return_carry=True)(XS)
    assert_close(flax.nnx.RNN(module, return_carry=True)(XS), expected)

    @flax.nnx.scan(in_axes=(None, flax.nnx.Carry, 1), out_axes=(flax.nnx.Carry, 1))
    def scan(module, carry, x):
        return module(carry, x)

    assert_close(scan(module, module.initialize_carry((B, F)), XS), expected)


@every_cell
def test_cells_run_in_the_rnn_and_scan_of_linen(cell):
    module = linen.RNN(getattr(linen, cell)(H), return_carry=True)
    run, params = bind(module)
    theirs = flax.linen.RNN(getattr(linen, cell)(H), return_carry=True)
    assert_close(theirs.apply({"params": params}, XS), run(XS))
    options = {"variable_broadcast": "params", "split_rngs": {"params": False}, "in_axes": 1, "out_axes": 1}
    scanned = flax.linen.scan(getattr(linen, cell), **options)(H)
    start = scanned.initialize_carry(KEY, (B, F))
    assert_close(scanned.apply({"params": params["cell"]}, start, XS), run(XS))


@both
def test_cells_of_flax_run_as_in_flax(api):
    if api == "nnx":
        cell = flax.nnx.GRUCell(F, H, rngs=flax.nnx.Rngs(0))
        assert_close(nnx.RNN(cell)(XS), flax.nnx.RNN(cell)(XS))
    else:
        ours, theirs = linen.RNN(flax.linen.GRUCell(H)), flax.linen.RNN(flax.linen.GRUCell(H))
        variables = theirs.init(KEY, XS)
        assert_close(ours.apply(variables, XS), theirs.apply(variables, XS))


@both
def test_a_subclass_that_steps_otherwise_is_heard(api):
    if api == "nnx":

        class Doubled(nnx.LSTMCell):
            def __call__(self, carry, inputs):
                return super().__call__(carry, 2 * inputs)

        cell = Doubled(F, H, rngs=flax.nnx.Rngs(0))
        assert_close(nnx.RNN(cell)(XS), nnx.RNN(nnx.LSTMCell(F, H, rngs=flax.nnx.Rngs(0)))(2 * XS))
    else:

        class DoubledCell(linen.LSTMCell):
            def __call__(self, carry, inputs):
                return super().__call__(carry, 2 * inputs)

        module, plain = linen.RNN(DoubledCell(H)), linen.RNN(linen.LSTMCell(H))
        variables = plain.init(KEY, XS)
        assert_close(module.apply(variables, XS), plain.apply(variables, 2 * XS))


@both
def test_a_bidirectional_layer_is_a_pair(api):
    pair = (rnnjax.lstm(F, H), rnnjax.lstm(F, H))
    if api == "nnx":
        cells = [nnx.RNNCell(cell, rngs=flax.nnx.Rngs(i)) for i, cell in enumerate(pair)]
        module = nnx.Bidirectional(*map(nnx.RNN, cells))
        ys, params = module(XS, seq_lengths=LENGTHS), [nnx.unwrap(cell.params) for cell in cells]
    else:
        module = linen.Bidirectional(*[linen.RNN(linen.RNNCell(cell)) for cell in pair])
        run, variables = bind(module)
        ys, params = (
            run(XS, seq_lengths=LENGTHS),
            [variables[f"{way}_rnn"]["cell"]["cell"] for way in ("forward", "backward")],
        )
    params = rnnjax.Layers((rnnjax.Bidirectional(*params),))
    assert_close(ys, rnnjax.unroll_layers([pair], params, XS, lengths=LENGTHS, time_major=False)[1])


def test_any_cell_becomes_a_module_and_comes_back_without_a_copy():
    cell = rnnjax.stack([rnnjax.residual(rnnjax.gru(F, F)), rnnjax.peephole_lstm(F, H)])
    params = cell.init(KEY)
    module = nnx.RNNCell(cell, params=params)
    assert module.cell is cell
    back = nnx.unwrap(module.params)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    pointers = [[leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)] for tree in (params, back)]
    assert pointers[0] == pointers[1]
    with pytest.raises(ValueError, match=r"^RNNCell: expected params, or rngs to draw them from, got neither\.$"):
        nnx.RNNCell(cell)


@both
def test_carry_init_draws_the_carry_in_the_dtype_of_the_parameters(api):
    ones = jax.nn.initializers.ones
    if api == "nnx":
        cell = nnx.LSTMCell(F, H, param_dtype=jnp.bfloat16, carry_init=ones, rngs=flax.nnx.Rngs(0))
        c, h = cell.initialize_carry((B, F), flax.nnx.Rngs(0))
    else:
        c, h = linen.LSTMCell(H, param_dtype=jnp.bfloat16, carry_init=ones).initialize_carry(KEY, (B, F))
    assert c.shape == h.shape == (B, H) and c.dtype == h.dtype == jnp.bfloat16
    assert (c == 1).all() and (h == 1).all()


def test_conv_lstm_has_axes_of_space():
    xs = normal(1, 2, T, 4, 5, F)
    run, params = bind(linen.RNN(linen.ConvLSTMCell(H, (3, 2)), return_carry=True), xs)
    (c, h), ys = run(xs, seq_lengths=jnp.array([T, 2]))
    cell = rnnjax.conv_lstm(F, H, kernel_shape=(3, 2))
    expected, expected_ys = rnnjax.unroll(
        cell, params["cell"]["cell"], jnp.swapaxes(xs, 0, 1), lengths=jnp.array([T, 2])
    )
    assert_close((c, h, ys), (expected.c, expected.h, jnp.swapaxes(expected_ys, 0, 1)))


# ---- layers --------------------------------------------------------------------------------------------------

LAYERS = [(rnnjax.gru(F, H), rnnjax.gru(F, H)), rnnjax.lstm(2 * H, 2)]
MASK = jnp.array(np.random.default_rng(0).random((B, T)) < 0.7)
RESETS = jnp.array(np.random.default_rng(1).random((B, T)) < 0.3)


def make_layers(api, **options):
    """`(run, params)` of an Encoder of LAYERS."""
    if api == "nnx":
        module = perturbed(nnx.Encoder(LAYERS, rngs=flax.nnx.Rngs(0), **options))
        return module, nnx.unwrap(module.params)
    run, params = bind(linen.Encoder(LAYERS, **options), deterministic=True)
    return run, params["layers"]


@both
@pytest.mark.parametrize("flags", [{"seq_lengths": LENGTHS}, {"mask": MASK, "resets": RESETS}])
def test_layers_are_unroll_layers(api, flags):
    run, params = make_layers(api)
    carry, ys = run(XS, return_carry=True, **flags)
    options = {"lengths" if name == "seq_lengths" else name: value for name, value in flags.items()}
    assert_close((carry, ys), rnnjax.unroll_layers(LAYERS, params, XS, time_major=False, **options))
    over_time = {name: value if name == "seq_lengths" else value.T for name, value in flags.items()}
    assert_close(run(jnp.swapaxes(XS, 0, 1), time_major=True, **over_time), jnp.swapaxes(ys, 0, 1))


@both
@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_layers_of_one_kind(api, name):
    make = {"LSTM": rnnjax.lstm, "GRU": rnnjax.gru, "SimpleRNN": rnnjax.rnn}[name]
    layers = [(make(F, H),) * 2, (make(2 * H, H),) * 2]
    if api == "nnx":
        run = getattr(nnx, name)(F, H, num_layers=2, bidirectional=True, rngs=flax.nnx.Rngs(0))
        params = nnx.unwrap(run.params)
    else:
        run, variables = bind(getattr(linen, name)(H, num_layers=2, bidirectional=True))
        params = variables["layers"]
    assert_close(run(XS), rnnjax.unroll_layers(layers, params, XS, time_major=False)[1])


@both
def test_dropout_falls_between_layers_unless_deterministic(api):
    run, _ = make_layers(api, dropout=0.5)
    if api == "nnx":
        noisy_ys, again = run(XS), run(XS)
        run.eval()
        assert_close(run(XS), run(XS, deterministic=True))
    else:
        noisy_ys, again = (run(XS, deterministic=False, rngs={"dropout": jax.random.key(i)}) for i in range(2))
    plain = run(XS, deterministic=True)
    assert abs(noisy_ys - plain).max() > 1e-3 and abs(noisy_ys - again).max() > 1e-3


@both
def test_a_learned_carry_is_the_same_for_all_rows_and_is_trained(api):
    if api == "nnx":
        module = perturbed(nnx.GRU(F, H, learn_carry=True, rngs=flax.nnx.Rngs(0)))
        h, params = nnx.unwrap(module.start).layers[0].h, nnx.unwrap(module.params)
        ys = module(XS)
        gradients = flax.nnx.grad(lambda module: module(XS).sum())(module)
        gradient = gradients["start"]["layers"][0]["h"][...]
    else:
        module = linen.GRU(H, learn_carry=True)
        run, variables = bind(module)
        h, params, ys = variables["start"].layers[0].h, variables["layers"], run(XS)
        gradient = jax.grad(lambda v: module.apply({"params": v}, XS).sum())(variables)["start"].layers[0].h
    start = rnnjax.Layers((rnnjax.GRUCarry(jnp.broadcast_to(h, (B, H))),))
    assert abs(h).max() > 0.01
    assert_close(ys, rnnjax.unroll_layers([rnnjax.gru(F, H)], params, XS, start, time_major=False)[1])
    assert gradient.shape == (H,) and abs(gradient).min() > 0


def test_a_cell_of_tokens_in_layers():
    tokens = np.random.default_rng(0).integers(0, 11, (B, T))
    cell = rnnjax.combinators.embedded(rnnjax.gru(F, H), 11)
    module = nnx.Encoder([cell], rngs=flax.nnx.Rngs(0))
    params = nnx.unwrap(module.params)
    expected = rnnjax.unroll_layers([cell], params, tokens.T, lengths=LENGTHS)[1]
    assert_close(module(tokens, seq_lengths=LENGTHS), jnp.swapaxes(expected, 0, 1))


# ---- decoder, training ---------------------------------------------------------------------------------------


@both
def test_the_decoder_is_teacher_forcing_and_steps(api):
    attention = rnnjax.attention.additive_attention(H, 2, 11)
    cell, values, lengths = rnnjax.gru(F + 2, H), normal(2, B, 4, 2), jnp.array([4, 1, 3])
    if api == "nnx":
        module = perturbed(nnx.AttentionDecoder(cell, attention, rngs=flax.nnx.Rngs(0)))
        params, memory = nnx.unwrap(module.params), module.remember(values, seq_lengths=lengths)
        out, step, start = module(XS, memory, seq_lengths=LENGTHS), module.step, module.initial_carry(memory)
    else:
        module = linen.AttentionDecoder(cell, attention)
        variables = noisy(module.init(KEY, XS, values), seed=5)
        params, memory = (
            variables["params"]["decoder"],
            module.apply(variables, values, seq_lengths=lengths, method="remember"),
        )
        out = module.apply(variables, XS, values, seq_lengths=LENGTHS, value_lengths=lengths)
        start = module.initial_carry(memory)

        def step(*args):
            return module.apply(variables, *args, method="step")

    pure = rnnjax.attention_decoder(cell, attention)
    _, expected = rnnjax.teacher_force(pure, params, memory, jnp.swapaxes(XS, 0, 1), lengths=LENGTHS)
    assert_close(jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), out), expected)
    carry = start
    for t in range(3):
        carry, one = step(carry, XS[:, t], memory)
        assert_close(one.output[0], out.output[0, t])


def test_nnx_trains_layers_with_dropout_in_one_jitted_step():
    model = nnx.LSTM(F, H, num_layers=2, dropout=0.1, rngs=flax.nnx.Rngs(0))
    optimizer = flax.nnx.Optimizer(model, optax.adam(0.02), wrt=flax.nnx.Param)

    @flax.nnx.jit
    def step(model, optimizer):
        loss, gradients = flax.nnx.value_and_grad(lambda m: jnp.mean((m(XS, seq_lengths=LENGTHS) - 0.3) ** 2))(model)
        optimizer.update(model, gradients)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
