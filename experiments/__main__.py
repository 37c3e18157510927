"""Lists the experiments and the benchmarks, each with the first line of its docstring; `gallery` shows their runs.

python -m experiments
python -m experiments gallery         runs/gallery.html: the newest whole run of every experiment
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
GALLERY = Path("runs") / "gallery.html"


def programs() -> Iterator[tuple[str, str]]:
    """Yields `(name, first line of its docstring)` for every program, without importing any."""
    for path in sorted(HERE.rglob("*.py")):
        parts = path.relative_to(HERE).with_suffix("").parts
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and '\nif __name__ == "__main__":' in text:
            doc = ast.get_docstring(ast.parse(text)) or ""
            yield ".".join(part for part in parts if part != "__main__"), doc.splitlines()[0]


def main() -> None:
    """Lists the programs, or makes the gallery."""
    found = sorted(programs(), key=lambda program: ("." in program[0], program))
    if sys.argv[1:] == ["gallery"]:
        from experiments.lib import cli, gallery  # which need more than a list does

        def write() -> None:
            names = gallery.write_gallery([program for program in found if "." not in program[0]], GALLERY)
            print(f"{GALLERY}: {', '.join(names)}")

        cli.main_guard(write, prog="python -m experiments gallery")
    elif sys.argv[1:]:
        print(f"python -m experiments: expected no argument or gallery, got {sys.argv[1]!r}.", file=sys.stderr)
        raise SystemExit(2)
    else:
        print("python -m experiments.<name>, of these names; --help shows the options, --smoke takes seconds\n")
        for name, line in found:
            print(f"{name:<25} {line}")


if __name__ == "__main__":
    main()
