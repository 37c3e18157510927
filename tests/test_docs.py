"""What the documents name is there: files, names of the library, experiments; and their examples run."""

import operator
import re
from pathlib import Path

import jax
import pytest

import rnnjax

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "experiments" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]


ON_ITS_OWN = "many_devices.md"  # which needs other processes: tests/test_many_devices.py
GUIDES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
GUIDES = [page for page in GUIDES if "```python" in page.read_text() and page.name != ON_ITS_OWN]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_and_experiments_are_there(page):
    text = page.read_text()
    for name in {*re.findall(r"`rnnjax\.([a-z_]+(?:\.[A-Za-z_]+)*)[`(]", text)}:
        operator.attrgetter(name)(rnnjax)  # raises AttributeError, which says what is missing
    for name in {*re.findall(r"python -m experiments\.([a-z_]+(?:\.[a-z_]+)?)", text)}:
        path = ROOT / "experiments" / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"{page.name} names {name}"


def test_every_experiment_has_a_row():
    rows = (ROOT / "experiments" / "README.md").read_text()
    folders = {path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py")}
    for name in folders | {path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")}:
        assert f"python -m experiments.{name}" in rows, f"experiments/README.md has no row for {name}"


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.stem)
def test_the_blocks_of_a_guide_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a guide may write files
    names = {"__name__": page.stem}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have it
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            exec(compile(block, page.name, "exec"), names)
