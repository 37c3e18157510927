"""An exported program, compiled for a TPU and a GPU: no device is needed, but the compilers are (see `.ci/run`)."""

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from experiments.benchmarks import platforms

T, B, F, H = 7, 2, 3, 5


@pytest.mark.compilers
@pytest.mark.parametrize(("target", "compiler"), [("v5e", "libtpu"), ("h100", "jax_plugins.xla_cuda13")])
def test_a_file_written_here_compiles_there(target, compiler, tmp_path):
    pytest.importorskip(compiler)
    cell = rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 7, dtype=jnp.bfloat16)])
    program = rnnjax.export.export_sequence(cell, cell.init(jax.random.key(0)), lengths=True)
    rnnjax.export.save(tmp_path / "sequence.npz", program)
    program = rnnjax.export.load(tmp_path / "sequence.npz")
    [device] = platforms.devices_of(target, 1)
    there = jax.sharding.SingleDeviceSharding(device)
    args = program.params, program.initial_carry(B), jnp.ones((T, B, F)), jnp.array([T, 4], jnp.int32)
    specs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there), args)
    compiled = jax.jit(program.exported.call).lower(*specs).compile()
    carry, ys = compiled.out_info
    assert ys.shape == (T, B, 7) and {*carry} == {"layers.0.h", "layers.0.c", "layers.1.h"}
    assert "while" in compiled.as_text()
