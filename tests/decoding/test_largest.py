"""The largest values in two passes, against `jax.lax.top_k`; log sums of exponentials against those of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.decoding._largest import largest, log_sum_exp

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.slow
@pytest.mark.parametrize("shape,count", [((3, 7), 7), ((5, 641), 2), ((2, 1283), 5), ((3, 4099), 9), ((1, 64 * 8), 2)])
def test_largest_is_top_k_to_the_letter(shape, count):
    for seed, levels in ((0, 10**6), (1, 3), (2, 40)):  # many ties
        values = jnp.floor(levels * jax.random.uniform(jax.random.key(seed), shape))
        values = values.at[0, : shape[1] // 2].set(-jnp.inf)
        for mine, theirs in zip(largest(values, count), jax.lax.top_k(values, count), strict=True):
            assert (mine == theirs).all()


def test_of_equal_values_the_first_is_the_first_of_the_largest():
    """Though a later block holds the largest value of all."""
    values = jnp.zeros((1, 1283)).at[0, jnp.array([71, 197, 201])].set(jnp.array([1.0, 2.0, 1.0]))
    assert largest(values, 3)[1].tolist() == [[197, 71, 201]]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 5, 8, 17, 1009])
def test_log_sum_exp_is_that_of_jax(width):
    scales = jnp.array([1.0, 1, 1, 40, 40, 0.1, 0])[:, None]  # to overflow, and for every value to count
    values = scales * jax.random.normal(jax.random.key(width), (7, width))
    values = values.at[0].set(-jnp.inf).at[1, 0].set(jnp.inf).at[2, 0].set(jnp.nan).at[3, : width // 2].set(-jnp.inf)
    peak = jnp.max(values, axis=-1, keepdims=True)
    np.testing.assert_allclose(
        log_sum_exp(values, peak), jax.nn.logsumexp(values, axis=-1, keepdims=True), rtol=1e-6, atol=1e-5
    )
