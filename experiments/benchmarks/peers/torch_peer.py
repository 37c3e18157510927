"""PyTorch on the CPU: torch.nn.LSTM, GRU and RNN.

Of its two biases, the second is zero but for the candidate of the GRU, which resets after the product.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments.benchmarks.peers.base import LEARNING_RATE, Inputs, Problem, Runs, layers_of
from rnnjax.convert import to_torch

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


def make(problem: Problem) -> Runs:
    """Makes the module: packed sequences in masked rows, num_layers=2, bidirectional=True."""
    row = problem.row
    options = {"num_layers": 2 if row.kind == "two_layers" else 1, "bidirectional": row.kind == "bidirectional"}
    module = MODULES[row.cell](row.hidden, row.hidden, **options)
    weights = to_torch(*layers_of(row, problem.params))
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    xs, ct = (torch.from_numpy(np.array(array)) for array in (problem.inputs.xs, problem.ct))
    by_xs = xs.clone().requires_grad_()
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)

    def apply(xs):
        if row.kind != "masked":
            return module(xs)[0]
        lengths = torch.from_numpy(problem.lengths.astype(np.int64))
        packed = torch.nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
        return torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], total_length=row.steps)[0]

    @torch.inference_mode()
    def forward():
        return apply(xs)

    def grad():
        return torch.autograd.grad((apply(by_xs) * ct).sum(), [by_xs, *parameters.values()])

    def train():
        optimizer.zero_grad()
        loss = (apply(xs) * ct).sum()
        loss.backward()
        optimizer.step()
        return loss

    def gradients():
        dxs, *rest = (gradient.numpy().copy() for gradient in grad())
        pull = jax.vjp(lambda params: to_torch(*layers_of(row, params)), problem.params)[1]
        return pull(dict(zip(parameters, map(jnp.asarray, rest), strict=True)))[0], Inputs(dxs)

    return Runs({"forward": forward, "grad": grad, "train": train}, lambda: forward().numpy(), gradients)


def ceiling(size: int, repetitions: int) -> float:
    """Measures operations per second of a float32 product of square matrices, the best of several runs."""
    a, best = torch.randn(size, size), float("inf")
    with torch.inference_mode():
        for _ in range(repetitions):
            start = time.perf_counter()
            torch.mm(a, a)
            best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
