"""Which words stand near which."""

from collections.abc import Sequence

import numpy as np


def neighbours(sentences: Sequence[np.ndarray], window: int) -> np.ndarray:
    """Pairs `[P, 2]` of words at most so many places apart in a sentence of ids, each pair in both orders.

    >>> neighbours([np.array([1, 2, 3]), np.array([4]), np.array([5, 6])], window=1).tolist()
    [[2, 1], [3, 2], [6, 5], [1, 2], [2, 3], [5, 6]]
    """
    ids = np.concatenate([np.zeros(0, np.int32), *sentences]).astype(np.int32)
    sentence = np.repeat(np.arange(len(sentences)), [len(words) for words in sentences])
    pairs = [np.zeros((0, 2), np.int32)]
    for distance in range(1, window + 1):
        same = sentence[distance:] == sentence[:-distance]
        late, early = ids[distance:][same], ids[:-distance][same]
        pairs += [np.stack([late, early], axis=1), np.stack([early, late], axis=1)]
    return np.concatenate(pairs)
