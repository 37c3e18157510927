"""What experiments share: data sets without a network, command lines, reports, figures."""

import dataclasses
import hashlib
import io
import json
import re
import urllib.error
import urllib.request
from typing import Literal

import jax
import numpy as np
import pytest

from experiments.lib import cli, datasets, plots, report, sweep

# ---- data sets -----------------------------------------------------------------------------------------------

CONTENT = b"to be, or not to be\n" * 7_001  # more than one block
FILE = datasets.DataFile(
    folder="set",
    name="data.txt",
    url="https://example.invalid/data.txt",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="public domain",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no RNNJAX_DATA, and a network that nobody may use."""

    def forbidden(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    return tmp_path / "cache" / "rnnjax"


def put(folder, content=CONTENT):
    path = folder / FILE.folder / FILE.name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


class Answer(io.BytesIO):
    """What urlopen returns."""

    def __init__(self, content, headers=None):
        super().__init__(content)
        self.headers = headers if headers is not None else {"Content-Length": str(len(content))}


def serve(monkeypatch, make_answer):
    asked = []

    def urlopen(url, timeout=None):
        assert timeout
        asked.append(url)
        return make_answer()

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def test_a_copy_in_rnnjax_data_is_found(cache, tmp_path, monkeypatch):
    path = put(tmp_path / "mine")
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "mine"))
    assert datasets.find(FILE) == path


def test_a_copy_in_the_cache_is_found(cache, tmp_path, monkeypatch):
    path = put(cache)
    assert datasets.find(FILE) == path
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "empty"))
    assert datasets.find(FILE) == path


def test_rnnjax_data_comes_before_the_cache(cache, tmp_path, monkeypatch):
    put(cache)
    path = put(tmp_path / "mine")
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "mine"))
    assert datasets.find(FILE) == path


def test_without_xdg_the_cache_is_below_home(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = put(tmp_path / "home" / ".cache" / "rnnjax")
    assert datasets.find(FILE) == path


def test_a_copy_with_other_bytes_is_refused(cache):
    path = put(cache, CONTENT[:-1])
    with pytest.raises(ValueError, match=rf"expected {path} to be the file of {FILE.url}.*got other bytes; delete it"):
        datasets.find(FILE)
    assert path.exists()


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route to host"), TimeoutError("timed out"), OSError("reset")]
)
def test_no_network_and_no_copy_is_one_clear_sentence(cache, monkeypatch, error):
    def urlopen(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(FileNotFoundError) as caught:
        datasets.find(FILE)
    message = str(caught.value)
    assert FILE.url in message and str(cache / "set" / "data.txt") in message and "RNNJAX_DATA" in message
    assert "\n" not in message and caught.value.__suppress_context__
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("headers", [None, {}])
def test_a_download_is_checked_and_put_in_place(cache, monkeypatch, capfd, headers):
    asked = serve(monkeypatch, lambda: Answer(CONTENT, headers))
    path = datasets.find(FILE)
    assert path == cache / "set" / "data.txt" and path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["data.txt"]
    assert "data.txt" in capfd.readouterr().err  # of the progress bar
    assert datasets.find(FILE) == path and asked == [FILE.url]


def test_the_file_is_not_there_before_it_is_whole(cache, monkeypatch):
    class Watched(Answer):
        def read(self, *size):
            assert not (cache / "set" / "data.txt").exists()
            return super().read(*size)

    serve(monkeypatch, lambda: Watched(CONTENT))
    assert datasets.find(FILE).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"<html>moved</html>", CONTENT[:-5], b""])
def test_an_answer_with_another_sum_leaves_nothing_behind(cache, monkeypatch, content):
    serve(monkeypatch, lambda: Answer(content))
    with pytest.raises(ValueError, match=rf"expected {FILE.url} to have the SHA-256 {FILE.sha256}, got other bytes"):
        datasets.find(FILE)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_connection_that_breaks_leaves_nothing_behind(cache, monkeypatch):
    class Broken(Answer):
        def read(self, *size):
            if self.tell():
                raise ConnectionResetError("by peer")
            return super().read(*size)

    serve(monkeypatch, lambda: Broken(CONTENT))
    with pytest.raises(FileNotFoundError, match="by peer"):
        datasets.find(FILE)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def data_files():
    return [value for value in vars(datasets).values() if isinstance(value, datasets.DataFile)]


def test_every_data_file_is_described():
    assert data_files()
    for file in data_files():
        assert re.fullmatch("[0-9a-f]{64}", file.sha256) and file.url.startswith("https://") and file.licence
        assert file.folder and file.name


def test_load_text_of_the_language_reference(cache):
    text = datasets.load_text("pydoc")
    assert 300_000 < len(text) < 1_000_000
    assert "yield" in text and text == datasets.load_text("pydoc")


def test_load_text_of_a_path(cache, tmp_path):
    (tmp_path / "mine.txt").write_bytes("Überall\r\n".encode())
    assert datasets.load_text(str(tmp_path / "mine.txt")) == "Überall\n"


def test_load_text_of_a_known_set(cache, monkeypatch):
    put(cache)
    monkeypatch.setattr(datasets, "TINY_SHAKESPEARE", FILE)
    assert datasets.load_text("shakespeare") == CONTENT.decode()


def test_load_text_of_nothing(cache, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected --data to be pydoc, shakespeare or the path.*'shakespear'"):
        datasets.load_text("shakespear")


# ---- command lines -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of a run."""

    preset: str = ""  # other defaults
    hidden: int = 13  # units
    rate: float = 0.5  # of learning
    cell: Literal["rnn", "lstm"] = "rnn"  # which
    smoke: bool = False  # be quick
    sizes: tuple[int, ...] = (3, 5)  # of layers


PRESETS = {"big": Config(preset="big", hidden=97, cell="lstm"), "fast": Config(preset="fast", rate=2.0)}


def parse(*args, **options):
    return cli.parse(Config, prog="prog", description="What it does.", args=args, presets=PRESETS, **options)


def test_no_options_give_the_defaults():
    assert parse() == Config()


def test_options_change_the_defaults():
    got = parse("--hidden", "17", "--cell", "lstm", "--rate=0.25")
    assert got == Config(hidden=17, cell="lstm", rate=0.25)


def test_a_smoke_run_compiles_quickly():
    assert not jax.config.read("jax_disable_most_optimizations")
    try:
        assert parse("--smoke") == Config(smoke=True) and jax.config.read("jax_disable_most_optimizations")
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("args", [("--preset", "big"), ("--preset=big",)])
def test_a_preset_changes_the_defaults(args):
    assert parse(*args) == PRESETS["big"]


@pytest.mark.parametrize("args", [("--preset", "big", "--hidden", "7"), ("--hidden", "7", "--preset=big")])
def test_an_option_wins_over_the_preset(args):
    assert parse(*args) == Config(preset="big", hidden=7, cell="lstm")


def test_a_default_can_be_given():
    assert parse("--hidden", "7", default=Config(rate=4.0)) == Config(rate=4.0, hidden=7)


def test_an_unknown_preset_is_one_sentence():
    with pytest.raises(SystemExit, match=r"prog: expected --preset to be one of big, fast, got 'huge'"):
        parse("--preset", "huge")


@pytest.mark.parametrize("args", [("--hiden", "7"), ("--hidden", "many"), ("--cell", "gru")])
def test_bad_options_end_with_status_2(args, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*args)
    assert caught.value.code == 2 and args[0] in "".join(capsys.readouterr())


def test_help_shows_every_option_with_its_comment(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    shown = capsys.readouterr().out
    assert not caught.value.code
    for text in ("What it does.", "--hidden", "units", "--smoke", "be quick"):
        assert text in shown


@pytest.mark.parametrize("error", [ValueError("too short"), FileNotFoundError("no such text")])
def test_what_the_user_can_mend_is_one_sentence(capsys, error):
    def run():
        raise error

    with pytest.raises(SystemExit) as caught:
        cli.main_guard(run, prog="prog")
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"prog: {error}\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.main_guard(lambda: 1 // 0, prog="prog")


def test_the_result_line_is_json(capsys):
    cli.result_line("char_lm", 3, 12.3456, held_out_nats_per_char=1.5)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("result: ")
    assert json.loads(line.removeprefix("result: ")) == {
        "name": "char_lm",
        "seed": 3,
        "seconds": 12.3,
        "held_out_nats_per_char": 1.5,
    }


def test_a_config_as_json_can_be_read_back():
    config = Config(sizes=(7, 11), cell="lstm")
    assert cli.as_json(config)["sizes"] == [7, 11]
    assert json.loads(json.dumps(cli.as_json(config))) == cli.as_json(config)


# ---- reports -------------------------------------------------------------------------------------------------


def test_a_run_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report.new_run_folder(str(tmp_path / "mine"), "name") == tmp_path / "mine"
    folder = report.new_run_folder("", "name")
    assert (tmp_path / "mine").is_dir() and folder.is_dir()
    assert folder.resolve().parent == (tmp_path / "runs" / "name").resolve()


def test_a_run_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match="expected a folder that can be written"):
        report.new_run_folder(str(tmp_path / "file" / "below"), "name")


def test_the_last_run_is_the_newest_with_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2026-01-02-000000", "2026-01-03-000000", "2026-02-01-000000"):
        (tmp_path / "runs" / "name" / name).mkdir(parents=True)
    for name in ("2026-01-02-000000", "2026-01-03-000000"):
        report.write_config(tmp_path / "runs" / "name" / name, Config())
    assert report.last_run_folder("", "name").name == "2026-01-03-000000"
    older = tmp_path / "runs" / "name" / "2026-01-02-000000"
    assert report.last_run_folder(str(older), "name") == older


@pytest.mark.parametrize("out", ["", "nowhere"])
def test_no_run_to_resume_is_one_clear_error(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"expected a run to resume in {out or 'runs/name'}, found none"):
        report.last_run_folder(out, "name")


def test_config_and_metrics_are_read_back(tmp_path):
    report.write_config(tmp_path, Config(hidden=7))
    assert json.loads((tmp_path / "config.json").read_text()) == cli.as_json(Config(hidden=7))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    assert [line["loss"] for line in report.read_metrics(tmp_path / "metrics.jsonl")] == [0.5, 0.25]
    assert report.read_metrics(tmp_path / "nothing.jsonl") == []


def test_a_report_has_a_title_and_its_sections(tmp_path):
    report.write_report(tmp_path, "Title", {"One": "first\n\n", "Two": report.table({"a": 1, "b": "é"})})
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text == "# Title\n\n## One\n\nfirst\n\n## Two\n\n| | |\n|---|---|\n| a | 1 |\n| b | é |\n"


def test_quoted_text_stands_in_a_fence():
    assert report.quoted("# not a heading") == "~~~~\n# not a heading\n~~~~"


# ---- figures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 397])  # without and with a running mean
def test_loss_curves_writes_a_png(tmp_path, size):
    steps = np.arange(1, size + 1)
    losses = 2 / np.sqrt(steps) + np.random.default_rng(0).random(size)
    points = {"held out": ([1, size], [2.5, 1.5]), "uniform": ([size], [3.0])}
    plots.loss_curves(tmp_path / "loss.png", (steps, losses), points, title="Loss", y="nats per character")
    data = (tmp_path / "loss.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 5_000


def test_a_figure_is_closed(tmp_path):
    before = plots.plt.get_fignums()
    with plots.figure(tmp_path / "f.png", title="Title", x="update", y="nats") as axes:
        axes.plot([1, 2, 3], [3, 1, 2])
        assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Title", "update", "nats")
    assert plots.plt.get_fignums() == before and (tmp_path / "f.png").exists()


# ---- sweeps --------------------------------------------------------------------------------------------------


def test_the_rate_with_the_lowest_mean_wins_and_what_is_not_finite_never():
    losses = [0.1, np.nan, 2.0, 4.0, 5.0, 0.5]  # of three rates, two first weights each
    place, by_rate = sweep.choose_rate(losses, (0.1, 0.2, 0.3), "a model")
    assert place == 2 and by_rate.tolist() == [np.inf, 3.0, 2.75]
    with pytest.raises(ValueError, match="finite loss of a model at one of the rates, got none"):
        sweep.choose_rate([np.nan, np.inf], (0.1, 0.2), "a model")
