"""The architecture: import arrows, the public names, and what the project may not say."""

import ast
import importlib
import inspect
import re
import subprocess
from pathlib import Path

import pytest

import rnnjax

ROOT = Path(__file__).parents[1]

BOTTOM = {"_types", "_masking", "_checks", "_jaxprs"}
# Which namespaces each namespace may import, above the bottom. Decoding, attention and training never import cells.
ARROWS = {
    "cells": set(),
    "combinators": set(),
    "recurrence": set(),
    "attention": set(),
    "losses": {"recurrence"},
    "data": set(),
    "decoding": {"recurrence"},
    "seq2seq": {"recurrence", "attention", "losses", "decoding"},
    "training": {"data", "losses"},
    "diagnostics": {"recurrence"},
    "export": {"recurrence"},
    "testing": {"recurrence"},
    "convert": {"cells"},
    "flax": {"cells", "recurrence", "attention", "seq2seq"},
}
WITHIN_BOTTOM = {
    "_jaxlib_check": set(),
    "_jaxprs": set(),
    "_types": set(),
    "_masking": {"_types"},
    "_checks": {"_types", "_masking"},
}
# In these folders each file may import those before it.
ORDER = {
    "attention": ("_base", "_common", "_mechanism", "_additive", "_dot", "_location", "_local", "_monotonic"),
    "export": ("_names", "_program", "_function", "_cells", "_file"),
    "recurrence": (
        "_rewrite", "_eager", "_scan", "_explain", "_hold", "_call", "_loop", "_unroll", "_reference", "_tbptt",
        "_layers", "_resets",
    ),
    "seq2seq": (
        "_decoder", "_encoder", "_bridge", "_attention_decoder", "_vector_decoder", "_teacher_force", "_coverage",
        "_teacher_decays", "_exposure",
    ),
    "recurrence/_rewrite": (
        "kinds", "fallback", "targets", "loops", "residuals", "split", "rules", "at_once", "layout", "packing",
        "delay", "sums", "plan", "execute", "lower", "entry",
    ),
}  # fmt: skip
NUMPY_ONLY = "data"


def imports(path):
    """Dotted names that a file imports, of rnnjax down to the module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module.startswith("rnnjax"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FACES = [ROOT / "rnnjax" / namespace / "__init__.py" for namespace in ARROWS]
LIBRARY = [path for path in sorted((ROOT / "rnnjax").rglob("*.py")) if path != ROOT / "rnnjax" / "__init__.py"]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    room = path.relative_to(ROOT / "rnnjax").parts[0].removesuffix(".py")
    allowed = WITHIN_BOTTOM[room] if room in WITHIN_BOTTOM else BOTTOM | ARROWS[room] | {room}
    for name in imports(path):
        top, *below = name.split(".")
        assert top not in ("experiments", "tests", "matplotlib", "tyro", "torch")
        if top == "rnnjax" and below:
            assert below[0] in allowed, f"{path.name} imports {name}"
            if below[0] != room and len(below) > 1:  # of another namespace, its face only
                assert not below[1].startswith("_"), f"{path.name} reaches behind the face of {below[0]}: {name}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_are_faces_or_private(path):
    inner = path.relative_to(ROOT / "rnnjax").parts
    assert path.name == "__init__.py" or any(part.startswith("_") for part in inner), f"{path} looks public"


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.parent.name)
def test_faces_do_nothing_but_export(path):
    names = importlib.import_module(f"rnnjax.{path.parent.name}").__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))  # constants first, as ruff sorts them
    body = ast.parse(path.read_text()).body
    assert all(isinstance(node, (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)) for node in body)


@pytest.mark.parametrize(("folder", "module"), [(folder, module) for folder in ORDER for module in ORDER[folder]])
def test_imports_within_a_folder_point_down(folder, module):
    here, before = ROOT / "rnnjax" / folder, ORDER[folder][: ORDER[folder].index(module)]
    assert {path.stem for path in here.iterdir() if path.name != "__pycache__"} == {"__init__", *ORDER[folder]}
    package = f"rnnjax.{folder.replace('/', '.')}"
    for name in imports(here / f"{module}.py") if (here / f"{module}.py").exists() else ():
        if name.startswith(package + "."):
            assert name.removeprefix(package + ".").split(".")[0] in before, f"{module} imports {name}"


def test_data_needs_numpy_only():
    for path in (ROOT / "rnnjax" / NUMPY_ONLY).glob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] in ("jax", "flax")}


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda path: path.stem)
def test_experiments_use_public_names(path):
    for name in imports(path):
        if name.split(".")[0] == "rnnjax":
            assert not any(part.startswith("_") for part in name.split(".")), f"{path.name} imports {name}"
    for node in ast.walk(ast.parse(path.read_text())):
        chain, below = node, []
        while isinstance(chain, ast.Attribute):
            below.insert(0, chain.attr)
            chain = chain.value
        if below and isinstance(chain, ast.Name) and chain.id == "rnnjax":
            face = rnnjax
            for name in below[: 1 if below[0] not in ARROWS else 2]:
                assert name in face.__all__, f"{path.name} uses rnnjax.{'.'.join(below)}"
                face = getattr(face, name)


def public_objects():
    """Every public function and class, by its dotted name."""
    for namespace in (rnnjax, *(getattr(rnnjax, name) for name in ARROWS)):
        for name in namespace.__all__:
            if callable(getattr(namespace, name)) and name not in ("StepFn", "MakeInputs"):  # aliases of types
                yield f"{namespace.__name__}.{name}", getattr(namespace, name)


def test_the_top_level_is_short():
    assert rnnjax.__all__ == sorted(rnnjax.__all__)
    assert len({*rnnjax.__all__} - {*ARROWS, "__version__"}) <= 55
    assert all(inspect.isfunction(getattr(rnnjax, name)) for name in ("scan", "unroll"))


def test_public_objects_are_documented():
    for name, public in public_objects():
        assert public.__doc__, f"{name} has no docstring"
        if not isinstance(public, type):
            assert ">>>" in public.__doc__, f"{name} has no example"


def test_docstrings_name_the_arguments():
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            doc = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if doc and "Args:" in doc:
                section = doc.split("Args:")[1].split("\n\n")[0]
                entries = re.findall(r"^\s+((?:\*{0,2}\w+, )*\*{0,2}\w+):", section, re.M)
                named = {name.strip("*") for entry in entries for name in entry.split(", ")}
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


def test_the_changelog_describes_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert rnnjax.__version__ in versions[:2] and versions[0] in ("Unreleased", rnnjax.__version__)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {*re.findall(r"^### (.+)$", text, re.M)} <= kinds
