"""What single cells follow: properties of a text, the choice of a cell, and the page."""

import re

import numpy as np
import pytest

from experiments.char_lm import cells

TEXT = 'if f(a, [1]):\n    say "no (ab"\n\n  x = (2\n'


def test_properties_of_a_text():
    depth = cells.bracket_depth(TEXT)
    assert depth[: TEXT.index(":")] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 1, 0]
    assert depth[TEXT.index('"no')] == 0 and depth[TEXT.index("\n\n")] == 1 and depth[TEXT.index("x")] == 0 < depth[-1]
    quoted = cells.in_quotation(TEXT)
    assert "".join(c for c, q in zip(TEXT, quoted, strict=True) if q) == '"no (ab'
    assert cells.in_quotation('a "b\n\nc')[-1] == 0 and cells.bracket_depth(")(")[-1] == 1
    assert cells.indentation("a\n   b\n\n")[1:] == [0, 1, 2, 3, 3, 3, 0]
    assert cells.place_in_line("ab\n\ncd") == [1, 2, 0, 0, 1, 2]
    assert cells.place_in_word("an ox7é") == [1, 2, 0, 1, 2, 0, 1]
    assert all(len(measure(TEXT)) == len(TEXT) for measure in cells.PROPERTIES.values())


def long_text(rng):
    return "".join(rng.choice(list("ab([)])\n "), 4000))


def test_a_state_that_follows_brackets_is_found():
    rng = np.random.default_rng(0)
    text = long_text(rng)
    ids = np.unique(list(text), return_inverse=True)[1]
    depth = np.array(cells.bracket_depth(text))
    states, plain = rng.normal(size=(2, len(text), 7))
    states[:, 4] = 3 - 2 * depth  # exactly, but for its sign
    found = cells.find(states, plain, depth, ids)
    assert found.cell == 4 and found.first == pytest.approx(-1) and found.second.mean == pytest.approx(-1)
    assert found.second.low == pytest.approx(-1) == found.second.high
    assert abs(found.baselines["untrained network"]) < 0.1 and abs(found.baselines["the character alone"]) < 0.6
    assert cells.find(states, plain, np.ones(len(text)), ids) is None


def test_the_choice_among_many_cells_does_not_flatter():
    rng = np.random.default_rng(1)
    states, plain = rng.normal(size=(2, 200, 500))  # nothing to be found
    found = cells.find(states, plain, rng.normal(size=200), np.zeros(200, int))
    assert abs(found.first) > 0.25 > 3 * abs(found.second.mean) and found.second.low < 0 < found.second.high


def test_shades_are_pieces_of_the_text():
    activations = np.array([-1.0, -0.9, 0.0, 0.01, 1.0, 5.0, -1.0])
    pieces = cells.shaded("ab<d&fg", activations)
    assert "".join(text for _, text in pieces) == "ab<d&fg"
    levels = [level for level, _ in pieces]
    assert levels[:-1] == sorted({*levels}) and levels[-2] == cells.LEVELS and levels[0] == levels[-1] < 0


def test_the_liveliest_piece():
    values = np.zeros(1000)
    values[700:800] = np.arange(100)
    assert 600 < cells.liveliest(values, 120) <= 750 and cells.liveliest(values[:50], 120) == 0


def test_the_page_needs_nothing_beside_it(tmp_path, monkeypatch, capsys):
    text = long_text(np.random.default_rng(2)).replace("a", "<")
    depth = np.array(cells.bracket_depth(text))
    monkeypatch.setattr(
        cells, "read", lambda model, params, ids: np.stack([depth, -depth, depth**2], axis=1)[: len(ids)] * params
    )

    class Model:
        init = staticmethod(lambda key: 0.0)

    ids = np.unique(list(text), return_inverse=True)[1]
    config = cells.CellsConfig(shown=300)
    found = cells.show(tmp_path / "cells.html", Model, 1.0, ids, text, config)
    page = (tmp_path / "cells.html").read_text()
    assert found["depth of brackets"].cell == 0 and "inside a quotation" not in found
    assert "<h2>Depth of brackets: cell 0</h2>" in page and "not in both halves: inside a quotation" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page) and "&lt;" in page
    shown = re.search(r'<pre class="text">(.*?)</pre>', page[page.index("Depth of brackets: ") :], re.S)[1]
    plain = re.sub(r"<[^>]*>", "", shown).replace("&lt;", "<")
    assert plain in text and len(plain) == 300
    assert "depth of brackets: cell 0, +1.00 (+1.00 to +1.00)" in capsys.readouterr().out
    with pytest.raises(ValueError, match="expected a held-out text with quotations"):
        cells.show(tmp_path / "none.html", Model, 1.0, np.zeros(9, int), "\n" * 9, config)
