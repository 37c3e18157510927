"""Models that count, against their definitions."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from experiments.lib.ngrams import ngram_nats, unigram_nats

RNG = np.random.default_rng(0)
TRAINING = np.concatenate([RNG.integers(5, size=97), np.tile([0, 1, 2, 3], 13)])
HELD_OUT = np.concatenate([RNG.integers(6, size=31), np.tile([0, 1, 2], 7)])  # 5 is never trained on
SIZE = 6


def by_definition(order):
    """Interpolated Kneser-Ney with dictionaries: -log P of each held-out id."""
    training = (None,) * order + tuple(TRAINING.tolist())
    places = range(order, len(training))
    grams = {n: [training[t - n + 1 : t + 1] for t in places] for n in range(1, order + 1)}

    def counts(n):
        longer = [gram[1:] for gram in set(grams[n + 1])] if n < order else grams[n]
        return Counter(longer)

    tables = {n: counts(n) for n in range(1, order + 1)}
    after = {n: defaultdict(list) for n in tables}
    for n, table in tables.items():
        for gram in table:
            after[n][gram[:-1]].append(gram)

    def chance(n, past, symbol):
        if n == 0:
            return 1 / SIZE
        table, context = tables[n], past[len(past) - n + 1 :]
        shorter, total = chance(n - 1, past, symbol), sum(table[gram] for gram in after[n][context])
        if not total:
            return shorter
        ones, twos = (sum(count == c for count in table.values()) for c in (1, 2))
        discount = ones / (ones + 2 * twos) if ones else 0.5
        return (max(table[(*context, symbol)] - discount, 0) + discount * len(after[n][context]) * shorter) / total

    text = training + tuple(HELD_OUT.tolist())
    return [-np.log(chance(order, text[:t], text[t])) for t in range(len(training), len(text))]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngrams_are_interpolated_kneser_ney(order):
    np.testing.assert_allclose(ngram_nats(TRAINING, HELD_OUT, SIZE, order), by_definition(order), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 50, len(TRAINING)])
def test_probabilities_of_all_symbols_add_up_to_one(count):
    chances = [np.exp(-ngram_nats(TRAINING[:count], np.array([symbol]), SIZE, 4)[0]) for symbol in range(SIZE)]
    assert sum(chances) == pytest.approx(1.0) and min(chances) > 0


def test_unigrams_are_counted_with_one_added():
    expected = -np.log((np.bincount(TRAINING, minlength=SIZE) + 1) / (len(TRAINING) + SIZE))
    np.testing.assert_allclose(unigram_nats(TRAINING, HELD_OUT, SIZE), expected[HELD_OUT])
