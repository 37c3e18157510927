"""The architecture: import arrows, the public names, and what the project may not say."""

import ast
import re
import subprocess
from pathlib import Path

import jax
import pytest

import rnnjax

ROOT = Path(__file__).parents[1]

# What each module may import from rnnjax. Decoding, attention and training never import cells.
ARROWS = {
    "_jaxlib_check": set(),
    "types": set(),
    "masking": {"types"},
    "initializers": {"types"},
    "cells": {"types", "cells"},
    "combinators": {"types", "masking"},
    "rewrite": {"rewrite"},
    "eager": set(),
    "scan": {"eager", "rewrite"},
    "explain": {"rewrite", "scan"},
    "unroll": {"types", "eager", "masking", "scan"},
    "stepping": {"types", "scan"},
    "largest": {"types"},
    "sampling": {"types", "masking", "scan", "stepping", "largest"},
    "beam": {"types", "masking", "scan", "stepping", "largest"},
    "scoring": {"types", "masking", "scan", "stepping", "beam"},
    "attention": {"types", "masking", "attention"},
    "seq2seq": {"types", "unroll", "attention"},
    "exposure": {"types", "masking", "scan", "stepping", "losses"},
    "losses": {"types", "masking"},
    "optimizers": {"types"},
    "reporting": {"text"},
    "checkpoints": set(),
    "parallel": {"masking"},
    "training": {"types", "masking", "checkpoints", "reporting"},
    "text": set(),
    "windows": set(),
    "diagnostics": {"types", "scan", "unroll", "rewrite"},
    "testing": {"types", "unroll"},
}
WITHIN = {  # each module of a package may import those before it
    "attention": ("base", "common", "mechanism", "additive", "dot", "location", "local", "monotonic"),
    "cells": ("common", "rnn", "gru", "lstm", "gated", "layer_norm", "conv"),
    "rewrite": (
        "jaxprs",
        "kinds",
        "fallback",
        "targets",
        "loops",
        "residuals",
        "split",
        "rules",
        "at_once",
        "layout",
        "packing",
        "delay",
        "sums",
        "plan",
        "execute",
        "lower",
        "entry",
    ),
}
NUMPY_ONLY = ("text", "windows")


def imports(path):
    """Dotted names that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" if node.module == "rnnjax" else node.module for alias in node.names}
    return found


def module_of(path):
    return path.relative_to(ROOT / "rnnjax").parts[0].removesuffix(".py")


LIBRARY = [path for path in sorted((ROOT / "rnnjax").rglob("*.py")) if path != ROOT / "rnnjax" / "__init__.py"]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    module = module_of(path)
    assert module in ARROWS, f"a new module {module}: give it a row in ARROWS"
    for name in imports(path):
        if name.split(".")[0] == "rnnjax":
            assert name.split(".")[1] in ARROWS[module], f"{path.name} imports {name}"
        assert name.split(".")[0] not in ("experiments", "tests", "matplotlib", "tyro", "torch")


@pytest.mark.parametrize(("package", "module"), [(package, module) for package in WITHIN for module in WITHIN[package]])
def test_imports_within_a_package_point_down(package, module):
    folder, before = ROOT / "rnnjax" / package, WITHIN[package][: WITHIN[package].index(module)]
    assert {path.stem for path in folder.glob("*.py")} == {"__init__", *WITHIN[package]}
    for node in ast.walk(ast.parse((folder / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"rnnjax.{package}"):
            of_package = node.module == f"rnnjax.{package}"
            assert {a.name for a in node.names} <= set(before) if of_package else node.module.split(".")[-1] in before


@pytest.mark.parametrize("module", NUMPY_ONLY)
def test_host_side_modules_need_numpy_only(module):
    assert not {name for name in imports(ROOT / "rnnjax" / f"{module}.py") if name.split(".")[0] in ("jax", "flax")}


def test_experiments_use_public_names():
    for path in (ROOT / "experiments").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rnnjax":
                assert node.attr in rnnjax.__all__, f"{path.name} uses rnnjax.{node.attr}"


def test_public_names():
    assert rnnjax.__all__ == sorted(rnnjax.__all__) and len(set(rnnjax.__all__)) == len(rnnjax.__all__)
    for name in rnnjax.__all__:
        assert hasattr(rnnjax, name)
        if callable(getattr(rnnjax, name)) and name != "StepFn":  # an alias of a type
            assert getattr(rnnjax, name).__doc__, f"{name} has no docstring"


def test_public_functions_show_an_example():
    for name in rnnjax.__all__:
        public = getattr(rnnjax, name)
        if callable(public) and not isinstance(public, type) and name != "StepFn":
            assert ">>>" in public.__doc__, f"{name} has no example"


def test_docstrings_name_the_arguments():
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            doc = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if doc and "Args:" in doc:
                section = doc.split("Args:")[1].split("\n\n")[0]
                named = set(re.findall(r"^\s+\*{0,2}(\w+):", section, re.M))
                arguments = node.args
                given = {a.arg for a in arguments.args + arguments.kwonlyargs + arguments.posonlyargs}
                given |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a}
                assert named == given - {"self"}, f"{path.name}: {node.name} documents {named ^ given}"


def test_nothing_large_and_no_machine_paths_are_tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file():
            assert path.stat().st_size < 400_000, f"{name} is too large for the repository"
            if path.suffix in (".py", ".md", ".toml", ".json"):
                assert not re.search(r"(?<![\w.])/(work|farm|root|home)/\w", path.read_text()), (
                    f"{name} has a machine path"
                )


def test_version_is_in_the_changelog():
    assert f"## {rnnjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def readme_examples():
    """The README's blocks of Python; those of a peer that users need not install are oracles."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    return [
        pytest.param(block, marks=pytest.mark.oracle if "haiku" in block else (), id=f"example_{number}")
        for number, block in enumerate(blocks, 1)
    ]


@pytest.mark.parametrize("block", readme_examples())
def test_readme_examples_run(block):
    if "haiku" in block:
        pytest.importorskip("haiku")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have it
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
