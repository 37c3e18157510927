"""BLEU of many sentences, with an interval."""

from collections.abc import Sequence

import numpy as np
import sacrebleu

from experiments.lib.intervals import Interval, around


def bleu(found: Sequence[str], references: Sequence[Sequence[str]]) -> Interval:
    """BLEU from 0 to 100 of N sentences, each with as many references as there are, by a bootstrap over sentences.

    >>> round(bleu(["a dog runs over grass"], [["a dog runs over grass", "over grass runs a dog"]]).mean, 1)
    100.0
    """
    scores = [sacrebleu.sentence_bleu(text, list(known)) for text, known in zip(found, references, strict=True)]
    parts = np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores])
    times = np.random.default_rng(0).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=1000)
    sums = (times @ parts).tolist()
    drawn = [sacrebleu.BLEU.compute_bleu(row[:4], row[4:8], *row[8:], smooth_method="exp").score for row in sums]
    most = max(map(len, references))
    streams = [[known[i] if i < len(known) else None for known in references] for i in range(most)]
    mean = sacrebleu.corpus_bleu(list(found), streams).score
    return around(mean, *np.percentile(drawn, [2.5, 97.5]))
