"""Strict flags for every test: nothing is broadcast or promoted that was not asked for."""

import itertools
import os
import signal

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("RNNJAX_STRICT", "1")  # a rewrite that fails is an error, not a plain scan

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a job in the background, which tests of Ctrl-C would wait for
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def quick_compilation():
    """Programs compiled without most optimisations, for modules that compile much and compute little."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def standard_promotion():
    """For modules that train: optax's Adam divides by a power of an integer count, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Compiled programs of one module are not kept while the next one runs."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def forget_now_and_then(count=itertools.count(1)):  # noqa: B008
    """Nor for more than a hundred tests: each program maps memory, and Linux lets a process do so 65,530 times."""
    yield
    if next(count) % 100 == 0:
        jax.clear_caches()
