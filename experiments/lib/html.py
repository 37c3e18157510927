"""Reports that open in a browser: one file, with its figures and sounds inside."""

import base64
import mimetypes
import re
import urllib.parse
from pathlib import Path

from markdown_it import MarkdownIt

from experiments.lib import report

PAGE = Path(__file__).with_name("page.html")
EMBEDDED = re.compile(r'(<(?:img|audio|source|video)\b[^>]*?\bsrc=")([^":]+)(")')
PLAYER = re.compile(r'<img src="([^"]+\.wav)" alt="([^"]*)"\s*/?>')


def to_html(markdown: str, folder: Path, *, wide: bool = False) -> str:
    """Renders Markdown with tables as a page without anything outside it; what it shows lies in the folder.

    An "image" that is a WAV file becomes a player.
    """
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    body = body.replace("<table>", '<div class="scrolls"><table>').replace("</table>", "</table></div>")
    body = PLAYER.sub(r'<audio controls src="\1" title="\2"></audio>', body)
    body = EMBEDDED.sub(lambda found: found[1] + as_data(folder / urllib.parse.unquote(found[2])) + found[3], body)
    return make_page(title_of(markdown), body, wide=wide)


def make_page(title: str, body: str, *, wide: bool = False) -> str:
    """Puts the body of a page into its frame."""
    return report.render(PAGE, title=title, body=body, wide=wide)


def title_of(markdown: str) -> str:
    """The first heading of a text in Markdown, or nothing."""
    found = re.search(r"^# (.+)$", markdown, re.MULTILINE)
    return found[1] if found else ""


def as_data(path: Path) -> str:
    """A file as an address that contains it."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
