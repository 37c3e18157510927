"""What tests of conversions share."""

import doctest
import inspect

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax


def run_examples(function):
    """Runs the examples of a docstring, also those that are skipped where a framework is not installed."""
    source = inspect.getdoc(function).replace("# doctest: +SKIP", "")
    names = {"rnnjax": rnnjax, "jnp": jnp, "np": np}
    test = doctest.DocTestParser().get_doctest(source, names, function.__name__, None, 0)
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        runner.run(test)
    assert not runner.summarize(verbose=False).failed
