"""Files of programs: read here, read by JAX and NumPy alone, read by another version; and the guide that tells how."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, noisy, normal, random_params

import rnnjax
from rnnjax.export import export_function, export_sequence, export_step, load, save

pytest.importorskip("flatbuffers")  # JAX serialises with it, but does not require it
HERE = Path(__file__).parent
GUIDE = HERE.parents[1] / "docs" / "serving.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
T, B, F, H = 7, 2, 3, 5
CPU = {"platforms": ["cpu"]}
CELL = rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 7)])


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_read_is_what_was_written(dtype, inline, tmp_path):
    cell = rnnjax.stack([rnnjax.lstm(F, H, dtype=dtype), rnnjax.gru(H, 7, dtype=dtype)])
    params, first = random_params(cell, dtype=dtype), noisy(cell.initial_carry((1,), dtype))
    metadata = {"symbols": ["ä", "\n"], "size": 13}
    written = export_sequence(
        cell, params, x=jnp.ones((1, F), dtype), carry=first, inline_params=inline, metadata=metadata, **CPU
    )
    save(tmp_path / "lstm.npz", written)
    read, xs = load(tmp_path / "lstm.npz"), normal(1, T, B, F, dtype=dtype)
    for name in ("params", "first_carry"):
        before, after = getattr(written, name), getattr(read, name)
        assert {n: leaf.dtype for n, leaf in before.items()} == {n: leaf.dtype for n, leaf in after.items()}
        assert_same(after, before)
    assert read.metadata == metadata and bool(read.params) != inline
    assert_same(read.call(read.initial_carry(B), xs), written.call(written.initial_carry(B), xs))
    assert {path.name for path in tmp_path.iterdir()} == {"lstm.npz"}  # and nothing half written


def test_arrays_alone_and_functions_without_a_carry(tmp_path):
    def initial_carry(batch_shape=(), dtype=jnp.float32):
        return jnp.ones(batch_shape, dtype)

    cell = rnnjax.Cell(lambda key: jnp.float32(3), initial_carry, lambda params, carry, x: (carry + params * x, carry))
    save(tmp_path / "sum", export_step(cell, jnp.float32(3), x=jnp.ones(1), **CPU))
    program = load(tmp_path / "sum")
    assert program.call(program.initial_carry(2), jnp.array([5.0, 7.0]))[0].tolist() == [16, 22]
    save(tmp_path / "sum", export_function(lambda params, x: params["w"] * x, {"w": jnp.ones(2)}, jnp.ones(2), **CPU))
    program = load(tmp_path / "sum")
    assert program.first_carry is None and program.call(jnp.array([5.0, 7.0])).tolist() == [5, 7]


def test_what_is_no_such_file_is_one_sentence(tmp_path):
    step = export_step(CELL, random_params(CELL), **CPU)
    save(tmp_path / "step.npz", step)
    arrays = dict(np.load(tmp_path / "step.npz"))
    (tmp_path / "text").write_text("no program")
    np.savez(tmp_path / "others.npz", w=np.ones(3))
    about = np.array(str(arrays["about"]).replace(jax.__version__, "9.8.7"))
    np.savez(tmp_path / "future.npz", **arrays | {"about": about, "program": arrays["program"][:50]})
    for name, message in (
        ("text", "is no .npz"),
        ("others.npz", "an .npz of other arrays"),
        ("future.npz", "jax 9.8.7"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


def write_for_other_versions(folder):
    """Wrote the files in this folder, which are replaced when JAX does not read one any more: after half a year."""
    cell = rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 7, dtype=jnp.bfloat16)])
    program = export_sequence(cell, random_params(cell), lengths=True)
    save(Path(folder) / f"written_by_jax_{jax.__version__}.npz", program)


def as_numbers(version):
    return [int(part) for part in version.split(".") if part.isdigit()]


@pytest.mark.parametrize("path", sorted(HERE.glob("*.npz")), ids=lambda path: path.stem)
def test_files_of_other_versions(path):
    writer = path.stem.removeprefix("written_by_jax_")
    try:
        program = load(path)
    except ValueError as error:
        assert re.fullmatch(f"load: expected a program that jax .* of jax {writer} in .*", str(error))  # one line
        assert as_numbers(writer) > as_numbers(jax.__version__)  # which JAX promises for three weeks only
        return
    cell = rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 7, dtype=jnp.bfloat16)])
    xs, lengths = normal(1, T, B, F), jnp.array([T, 4])
    _, ys = rnnjax.unroll(cell, random_params(cell), xs, lengths=lengths)
    assert_close(program.call(program.initial_carry(B), xs, lengths)[1], ys, rtol=2**-7, atol=2**-8)


ALONE = """
import sys
for name in ("chex", "flax", "optax", "orbax", "rnnjax"):
    sys.modules[name] = None  # importing it is an ImportError
"""
RUN = """
xs, carry, ys = np.load("xs.npy"), {name: np.repeat(row, 2, axis=0) for name, row in first.items()}, []
for x in xs:
    carry, y = step(carry, x)
    ys.append(np.asarray(y, np.float32))
np.save("ys.npy", ys)
"""


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
def test_the_loader_of_the_guide_needs_jax_alone(dtype, tmp_path):
    cell = rnnjax.stack([rnnjax.lstm(F, H, dtype=dtype), rnnjax.gru(H, 7, dtype=dtype)])
    params, xs = random_params(cell, dtype=dtype), normal(1, T, B, F)
    save(tmp_path / "step.npz", export_step(cell, params))
    np.save(tmp_path / "xs.npy", xs)
    [loader] = [block for block in BLOCKS if block.startswith("# serve.py")]
    command = [sys.executable, "-W", "error", "-I", "-c", ALONE + loader + RUN]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, ys = rnnjax.unroll(cell, params, xs)
    tolerance = {} if dtype == jnp.float32 else {"rtol": 2**-7, "atol": 2**-7}
    assert_close(np.load(tmp_path / "ys.npy"), np.asarray(ys, np.float32), **tolerance)
