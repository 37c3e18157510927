"""Reports as pages that contain all they show, and the gallery of runs."""

import json
import re
import shutil

import pytest
from experiment_runs import smoke_config

from experiments import cooking
from experiments.lib import gallery, plots, report
from experiments.lib.html import to_html

pytestmark = pytest.mark.usefixtures("standard_promotion")

TEXT = """# A <title> & more

| name | value |
|---|---|
| a | 1 |

![a curve](the%20curve.png)

![a scale](scale.wav)

    y = x < 3

[elsewhere](https://example.org/a.png)
"""


def draw(path):
    with plots.figure(path, title="t", x="x", y="y") as axes:
        axes.plot([1, 2, 5])


def sources(page):
    return re.findall(r'\bsrc="([^"]*)"', page)


def test_a_page_contains_what_it_shows(tmp_path):
    draw(tmp_path / "the curve.png")
    (tmp_path / "scale.wav").write_bytes(b"RIFF")
    page = to_html(TEXT, tmp_path)
    assert "<title>A &lt;title&gt; &amp; more</title>" in page
    assert '<div class="scrolls"><table>' in page and "<td>1</td>" in page and "y = x &lt; 3" in page
    image, sound = sources(page)
    assert image.startswith("data:image/png;base64,iVBOR")
    assert sound.startswith("data:audio/x-wav;base64,UklGRg") and "<audio controls" in page
    assert 'href="https://example.org/a.png"' in page


def test_a_missing_figure_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        to_html("![none](none.png)", tmp_path)


def make_run(name, when, headline=None, **config):
    folder = gallery.Path("runs") / name / when
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"experiment": name, **config}))
    draw(folder / "loss.png")
    if headline:
        (folder / "report.md").write_text(f"# About {name}\n\n![loss](loss.png)\n")
        (folder / "result.json").write_text(json.dumps({"headline": headline}))
    return folder


def test_the_gallery_shows_the_newest_whole_run_of_each_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run("one", "2026-01-01", {"accuracy": 0.1})
    make_run("one", "2026-01-02", {"accuracy": 0.9, "seconds": 3, "baseline_accuracy": 0.5})
    make_run("one", "2026-01-03", {"accuracy": 1.0}, smoke=True)
    make_run("one", "2026-01-04")  # broken off
    make_run("two", "2026-01-01", {"mse": 0.25, "other": 0.5})
    programs = [("none", "never run"), ("one", "what <one> shows"), ("two", "what two shows")]
    assert gallery.write_gallery(programs, gallery.Path("runs/gallery.html")) == ["one", "two"]
    page = (tmp_path / "runs" / "gallery.html").read_text()
    assert "accuracy 0.9 against baseline_accuracy 0.5" in page and "mse 0.25 against other 0.5" in page
    assert 'href="one/2026-01-02/report.html"' in page and "what &lt;one&gt; shows" in page
    assert len(sources(page)) == 2 and all(source.startswith("data:image/png") for source in sources(page))


def test_a_gallery_of_nothing_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected whole runs of experiments in runs/, got none"):
        gallery.write_gallery([("one", "")], gallery.Path("runs/gallery.html"))


# ---- in a browser --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report and a gallery, of a short run that says it is a whole one."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = report.default_folder("cooking")
        cooking.main(smoke_config(cooking, run, smoke=False))
        gallery.write_gallery([("cooking", "what it shows")], gallery.Path("runs/gallery.html"))
        return [(folder / run / "report.html").resolve(), folder / "runs" / "gallery.html"]


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window."""
    api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("which", [0, 1], ids=["report", "gallery"])
def test_a_page_loads_in_a_browser_without_errors_and_fits(pages, browser, which, width):
    page, errors = browser.new_page(viewport={"width": width, "height": 800}), []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.goto(pages[which].as_uri())
    page.wait_for_load_state("load")
    images = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert images and all(images) and not errors
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
