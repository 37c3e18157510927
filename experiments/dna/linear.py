"""What positions alone tell: logistic regression on one-hot letters, and naive Bayes."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.naive_bayes import MultinomialNB

from experiments.dna.model import Split

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # C of the regression, from much to little regularisation


def logistic(strength: float, xs: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    """Fits a multinomial logistic regression with an L2 penalty."""
    return LogisticRegression(C=strength, max_iter=5000).fit(xs, labels)


def predict(xs: np.ndarray, labels: np.ndarray, splits: list[Split], members: int) -> dict[str, np.ndarray]:
    """Predicts the test rows of every fold: classes `[N]` by model.

    The penalty is chosen on the same validation rows as the updates of the networks. Then both models are fitted to all
    rows but those of the test, more than a network has.
    """
    flat = xs.reshape(len(xs), -1)
    found = {name: np.empty_like(labels) for name in ("logistic regression", "naive Bayes")}
    for fold in range(0, len(splits), members):
        losses = [
            np.mean([_validation_loss(strength, flat, labels, split) for split in splits[fold : fold + members]])
            for strength in STRENGTHS
        ]
        test = splits[fold].test
        rest = np.setdiff1d(np.arange(len(labels)), test)
        best = logistic(STRENGTHS[int(np.argmin(losses))], flat[rest], labels[rest])
        # One multinomial over all positions and letters, smoothed by one: a product over positions.
        bayes = MultinomialNB().fit(flat[rest], labels[rest])
        for name, model in zip(found, (best, bayes), strict=True):
            found[name][test] = model.predict(flat[test])
    return found


def _validation_loss(strength: float, flat: np.ndarray, labels: np.ndarray, split: Split) -> float:
    model = logistic(strength, flat[split.training], labels[split.training])
    return log_loss(labels[split.validation], model.predict_proba(flat[split.validation]), labels=model.classes_)
