"""Strict flags for every test, and the quickest compilation: tests compile much and compute little."""

import gc
import importlib.metadata
import itertools
import os
import shutil
import signal
import tempfile

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("RNNJAX_STRICT", "1")  # a rewrite that fails is an error, not a plain scan
if importlib.metadata.version("jaxlib").startswith("0.10."):  # a later XLA has no other emitters
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Every program is compiled once for all processes of the run, which find it here; name a folder of your own to keep it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{tempfile.gettempdir()}/rnnjax-compiled-{os.getpid()}")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest

gc.set_threshold(200_000, 50, 1000)  # tracing makes many objects, few of which are garbage
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a job in the background, which tests of Ctrl-C would wait for
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure():
    """Removes the compiled programs, in the process that made their folder."""
    folder = os.environ["JAX_COMPILATION_CACHE_DIR"]
    if folder.endswith(f"rnnjax-compiled-{os.getpid()}"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def all_optimizations():
    """Programs compiled as users do, for tests of what they cost."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


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
