"""Models whose distribution after every prefix is drawn anew: only trying everything tells what is best in them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

ROOT = -1  # the carry before bos


def random_tree(rng, vocabulary, steps, sharp):
    """Logits after every prefix of fewer than `steps` tokens, `[nodes, V]`."""
    nodes = (vocabulary**steps - 1) // (vocabulary - 1)
    return np.float32(sharp * rng.standard_normal((nodes, vocabulary)))


def tree_step(logits, node, token):
    """The step function of a tree; a carry is the number of the prefix, as in a heap."""
    child = node * logits.shape[1] + 1 + token
    node = jnp.where(node == ROOT, 0, child)
    # Behind the last step there is nothing, of which nothing is asked.
    return node, logits[jnp.minimum(node, logits.shape[0] - 1)]


def log_probs_of(logits):
    """Log-probabilities after every prefix, `[nodes, V]` in float64."""
    return np.asarray(jax.nn.log_softmax(logits), np.float64)


def best_of_tree(log_probs, steps, eos, normalise, finished_only=False):
    """The best score of all sequences that end with eos, or are cut, by trying every one: all of a length at once."""
    vocabulary, best = log_probs.shape[1], -np.inf
    total, first = np.zeros(1), 0  # of all prefixes of one length that have not ended, in the order of their nodes
    for length in range(1, steps + 1):
        total = (total[:, None] + log_probs[first : first + total.size]).reshape(-1, vocabulary)
        best = max(best, float(normalise(total[:, eos].max(), length)))
        if length == steps and not finished_only:
            best = max(best, float(normalise(total.max(), length)))
        total[:, eos] = -np.inf
        total, first = total.reshape(-1), first * vocabulary + 1
    return best


def prefixes_of(vocabulary, steps):
    """Every prefix of fewer than `steps` tokens, in the order of the nodes."""
    return list(itertools.chain(*(itertools.product(range(vocabulary), repeat=n) for n in range(steps))))
