"""What n-grams of letters achieve, by scikit-learn and by counting, and scores over unequal classes."""

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from experiments.data.names import Names, Split
from experiments.lib.intervals import Interval, resampled
from experiments.lib.ngrams import ngram_nats as kneser_ney
from experiments.lib.pairs import Pairs


def classify(data: Names, split: Split) -> tuple[str, dict[str, np.ndarray]]:
    """Answers for the test `[1, N]` by "n-grams" of up to four letters, and by the "most frequent" language.

    Logistic regression and naive Bayes, how much of either is smoothed away: chosen on validation, the note says which.
    """
    marked = np.array([f"<{name}>" for name in data.names])
    candidates = {f"logistic regression, C = {c:g}": LogisticRegression(C=c, max_iter=2000) for c in (1, 4)}
    candidates |= {f"naive Bayes, alpha = {a:g}": MultinomialNB(alpha=a) for a in (0.01, 0.03, 0.1)}
    best, note, answers = -1.0, "", np.zeros(0)
    for name, model in candidates.items():
        pipeline = make_pipeline(CountVectorizer(analyzer="char", ngram_range=(1, 4), binary=True), model)
        pipeline.fit(marked[split.training], data.languages[split.training])
        score = pipeline.score(marked[split.validation], data.languages[split.validation])
        if score > best:
            best, note, answers = score, name, pipeline.predict(marked[split.test])
    frequent = np.bincount(data.languages[split.training]).argmax()
    return note, {"n-grams": answers[None], "most frequent": np.full_like(answers, frequent)[None]}


def f1_by_language(answers: np.ndarray, truth: np.ndarray, size: int) -> np.ndarray:
    """F1 of each language `[C]`, the mean over the seeds of answers `[S, N]`; 0 where none was right."""
    settings = {"labels": range(size), "average": None, "zero_division": 0.0}
    return np.mean([f1_score(truth, row, **settings) for row in answers], axis=0)


def macro_f1(answers: np.ndarray, truth: np.ndarray, size: int) -> Interval:
    """The mean of F1 over the languages, each counting the same; an interval over the test names."""

    def mean_f1(rows: np.ndarray) -> float:
        # The confusion matrix of each seed, counted: a thousand times faster than scikit-learn.
        found = []
        for row in answers:
            table = np.bincount(truth[rows] * size + row[rows], minlength=size**2).reshape(size, size)
            both = table.sum(axis=0) + table.sum(axis=1)
            found.append(np.mean(2 * np.diag(table) / np.maximum(both, 1)))
        return float(np.mean(found))

    return resampled(mean_f1, len(truth))


def ngram_nats(training: tuple[Pairs, np.ndarray], held_out: tuple[Pairs, np.ndarray], size: int) -> np.ndarray:
    """-log P(name | language) `[N]` by an interpolated Kneser-Ney 5-gram that sees the language before the name."""

    def stream(pairs: Pairs, languages: np.ndarray) -> np.ndarray:  # language, letters, end, language, ...
        rows = zip(languages, pairs.targets, pairs.target_lengths, strict=True)
        return np.concatenate([[size + language, *ids[:length]] for language, ids, length in rows])

    ids = stream(*held_out)
    nats = kneser_ney(stream(*training), ids, size + int(training[1].max()) + 1)
    begins = np.flatnonzero(ids >= size)
    nats[begins] = 0.0  # the language is given
    return np.add.reduceat(nats, begins)
