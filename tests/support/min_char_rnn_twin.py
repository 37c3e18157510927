"""min-char-rnn in NumPy, written from its equations: one stream, one step at a time, columns as vectors.

h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h)      y_t = W_hy h_t + b_y      p_t = softmax(y_t)
loss = -sum_t log p_t[target_t]                gradients by the chain rule, from the last step to the first
g = clip(g, -5, 5)       m = m + g * g         w = w - 0.1 g / sqrt(m + 1e-8)
"""

from typing import NamedTuple

import numpy as np


class Weights(NamedTuple):
    """W_xh [H, V], W_hh [H, H], W_hy [V, H], b_h [H, 1], b_y [V, 1]."""

    w_xh: np.ndarray
    w_hh: np.ndarray
    w_hy: np.ndarray
    b_h: np.ndarray
    b_y: np.ndarray


def initial_weights(hidden: int, vocabulary: int, seed: int) -> Weights:
    """0.01 times a standard normal, biases from zero."""
    rng = np.random.default_rng(seed)
    return Weights(
        0.01 * rng.standard_normal((hidden, vocabulary)),
        0.01 * rng.standard_normal((hidden, hidden)),
        0.01 * rng.standard_normal((vocabulary, hidden)),
        np.zeros((hidden, 1)),
        np.zeros((vocabulary, 1)),
    )


def loss_and_gradient(weights: Weights, inputs, targets, h_before: np.ndarray):
    """The loss of a window, its gradient, clipped, and the last hidden state [H, 1]."""
    w_xh, w_hh, w_hy, b_h, b_y = weights
    xs, hs, ps = {}, {-1: h_before}, {}
    loss = 0.0
    for t, (character, target) in enumerate(zip(inputs, targets, strict=True)):
        xs[t] = np.zeros_like(b_y)
        xs[t][character] = 1
        hs[t] = np.tanh(np.dot(w_xh, xs[t]) + np.dot(w_hh, hs[t - 1]) + b_h)
        exps = np.exp(np.dot(w_hy, hs[t]) + b_y)
        ps[t] = exps / np.sum(exps)
        loss -= np.log(ps[t][target, 0])
    gradient = Weights(*(np.zeros_like(w) for w in weights))
    dh_next = np.zeros_like(h_before)
    for t in reversed(range(len(inputs))):
        dy = ps[t].copy()
        dy[targets[t]] -= 1
        dz = (1 - hs[t] * hs[t]) * (np.dot(w_hy.T, dy) + dh_next)
        gradient.w_hy[...] += np.dot(dy, hs[t].T)
        gradient.b_y[...] += dy
        gradient.w_xh[...] += np.dot(dz, xs[t].T)
        gradient.w_hh[...] += np.dot(dz, hs[t - 1].T)
        gradient.b_h[...] += dz
        dh_next = np.dot(w_hh.T, dz)
    for g in gradient:
        np.clip(g, -5, 5, out=g)
    return loss, gradient, hs[len(inputs) - 1]


def draw(weights: Weights, h: np.ndarray, first: int, length: int, rng: np.random.Generator) -> list[int]:
    """Characters drawn from the model, one after the other."""
    w_xh, w_hh, w_hy, b_h, b_y = weights
    character, drawn = first, []
    for _ in range(length):
        x = np.zeros_like(b_y)
        x[character] = 1
        h = np.tanh(np.dot(w_xh, x) + np.dot(w_hh, h) + b_h)
        exps = np.exp(np.dot(w_hy, h) + b_y)
        character = int(rng.choice(len(exps), p=(exps / np.sum(exps)).ravel()))
        drawn.append(character)
    return drawn


class Twin:
    """The program: an endless loop over windows of a text. `step()` does one iteration and returns its loss."""

    def __init__(self, ids: np.ndarray, weights: Weights, *, window: int = 25, sample_every: int = 0):
        self.ids, self.window, self.sample_every = ids, window, sample_every
        self.weights = Weights(*(w.copy() for w in weights))
        self.memory = Weights(*(np.zeros_like(w) for w in weights))
        self.h = np.zeros((len(weights.b_h), 1))
        self.position = self.iteration = 0
        self.smooth_loss = np.log(len(weights.b_y)) * window
        self.rng = np.random.default_rng(0)

    def step(self) -> float:
        """One iteration."""
        if self.position + self.window + 1 >= len(self.ids):
            self.h, self.position = np.zeros_like(self.h), 0
        piece = [int(i) for i in self.ids[self.position : self.position + self.window + 1]]
        if self.sample_every and self.iteration % self.sample_every == 0:
            draw(self.weights, self.h, piece[0], 200, self.rng)
        loss, gradient, self.h = loss_and_gradient(self.weights, piece[:-1], piece[1:], self.h)
        self.smooth_loss = 0.999 * self.smooth_loss + 0.001 * loss
        for w, g, m in zip(self.weights, gradient, self.memory, strict=True):
            m += g * g
            w -= 0.1 * g / np.sqrt(m + 1e-8)
        self.position += self.window
        self.iteration += 1
        return loss
