"""What counting achieves: models of the next symbol that a language model has to beat."""

import numpy as np


def unigram_nats(training: np.ndarray, held_out: np.ndarray, size: int) -> np.ndarray:
    """-log P of each of M held-out ids by how often it occurs among N to train on, one added to each count.

    >>> np.exp(-unigram_nats(np.array([0, 0, 1]), np.array([0, 1, 2]), 3)).round(3).tolist()
    [0.5, 0.333, 0.167]
    """
    counts = np.bincount(training, minlength=size) + 1
    return -np.log(counts / counts.sum())[held_out]


def ngram_nats(training: np.ndarray, held_out: np.ndarray, size: int, order: int = 5) -> np.ndarray:
    """-log P of each of M held-out ids that follow N to train on, by an interpolated Kneser-Ney model.

        P_n(w | h) = (max(c(h w) - d, 0) + d types(h) P_{n-1}(w | h')) / c(h),       P_0 = 1 / V

    h are the n - 1 symbols before w, h' all of them but the first, types(h) the number of different symbols after h in
    training. Below the highest order, c(h w) is the number of different symbols that occur before h w, the beginning of
    the text among them. The discount is d = n_1 / (n_1 + 2 n_2), with n_c grams of count c, or 0.5 without n_1.
    Reference: Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling".
    """
    ids, first = np.concatenate([training, held_out]).astype(np.int64), len(training)
    grams = [np.zeros(len(ids), np.int64)]  # grams[n][t] numbers the n symbols up to t, from 1; 0 is no symbol
    for _ in range(order):
        grams.append(1 + np.unique(_before(grams[-1]) * size + ids, return_inverse=True)[1])
    chance = np.full(len(held_out), 1 / size)
    for n in range(1, order + 1):
        gram, context = grams[n], _before(grams[n - 1])
        seen = np.arange(first)
        if n < order:  # one place for each different gram that is longer by one symbol
            seen = np.unique(grams[n + 1][:first], return_index=True)[1]
        counts = np.bincount(gram[seen], minlength=gram.max() + 1)
        kinds = np.unique(gram[seen], return_index=True)[1]
        total = np.bincount(context[seen], minlength=context.max() + 1)
        types = np.bincount(context[seen][kinds], minlength=context.max() + 1)
        ones, twos = (counts == 1).sum(), (counts == 2).sum()
        discount = ones / (ones + 2 * twos) if ones else 0.5
        gram, context = gram[first:], context[first:]
        mixed = np.maximum(counts[gram] - discount, 0) + discount * types[context] * chance
        chance = np.where(total[context] > 0, mixed / np.maximum(total[context], 1), chance)
    return -np.log(chance)


def _before(grams: np.ndarray) -> np.ndarray:
    """The gram that ends one symbol earlier."""
    return np.concatenate([[0], grams[:-1]])
