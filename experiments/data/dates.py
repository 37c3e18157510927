"""Dates as people write them, in nine locales, with the ISO form of each; generated with Babel's locale data.

Nobody tells the reader which locale a date comes from, so no form may be read in two ways:
- years have four digits;
- a date of digits alone has the day first (20/7/1969, 04.07.1969), or the year (1969/07/20: year, month, day); with the
  month first, as in the United States, it is written only where the day is above 12 (7/20/1969, never 7/4/1969).

All dates are of the Gregorian calendar, continued backwards before 1582; Persian ones too, with its months as they are
called in Persian, and Persian digits.
"""

import datetime
import functools
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from babel import Locale
from babel.dates import get_date_format, get_day_names, get_month_names, parse_pattern

from experiments.lib.pairs import Pairs, Symbols, pad_pairs

LOCALES = ("en_US", "en_GB", "fr", "de", "es", "it", "nl", "pt", "fa")

# Unicode's date patterns: y year; M, MM, MMM, MMMM month; d, dd day; EEE, EEEE day of the week.
STYLES = ("full", "long", "medium", "short")  # each locale has a pattern for each
PATTERNS = ("d MMMM y", "d MMM y", "d MMMM, y", "EEEE d MMMM y", "EEEE, d MMMM y", "EEE d MMM y")
YEAR_FIRST = ("y-MM-dd", "y/MM/dd", "y/M/d", "y.MM.dd")
DAY_FIRST = ("d/M/y", "dd/MM/y", "d.M.y", "dd.MM.y", "dd-MM-y")
MONTH_FIRST = ("M/d/y", "MM/dd/y", "MM-dd-y")
ENGLISH = ("MMMM d y", "MMMM d, y", "MMM d y", "MMM d, y", "EEEE MMMM d y", "EEE, MMM d, y", "EEE MMM d y")
# Babel has no ordinals; these are filled in as its patterns are once parsed.
ENGLISH_ORDINALS = (
    "%(MMMM)s %(th)s %(y)s",
    "%(MMMM)s %(th)s, %(y)s",
    "%(th)s %(MMMM)s %(y)s",
    "%(th)s of %(MMMM)s, %(y)s",
    "the %(th)s of %(MMMM)s %(y)s",
    "%(EEEE)s, %(MMMM)s %(th)s, %(y)s",
)
ZERO = {"latn": "0", "arabext": "۰"}  # of the numbering systems of LOCALES
ISO = Symbols.of(["0123456789-"])


class DatePair(NamedTuple):
    """A date in two forms."""

    human: str  # as somebody writes it
    iso: str  # year-month-day


def human_forms(date: datetime.date, locale: str) -> list[str]:
    """Writes a date in all forms of a locale, each once: every pattern as it is, in lower case and in upper case.

    Example:
      >>> forms = human_forms(datetime.date(1969, 7, 20), "en_US")
      >>> [form for form in forms if form.startswith("July")]
      ['July 20, 1969', 'July 20 1969', 'July 20th 1969', 'July 20th, 1969']
      >>> human_forms(datetime.date(1969, 6, 15), "fa")[0]
      'یکشنبه ۱۵ ژوئن ۱۹۶۹'
    """
    _check_years(date.year, date.year)
    return list(dict.fromkeys(_write(date, locale, *form) for form in _forms(locale, date.day > 12)))


def split(
    n_train: int, n_held_out: int, seed: int, *, first_year: int = 1500, last_year: int = 2100
) -> tuple[list[DatePair], list[DatePair]]:
    """Draws training pairs, and held-out pairs, each of another day, one that is never trained on, in any form."""
    _check_years(first_year, last_year)
    rng = np.random.default_rng(seed)
    first, last = datetime.date(first_year, 1, 1).toordinal(), datetime.date(last_year, 12, 31).toordinal()
    days = rng.permutation(np.arange(first, last + 1))
    if not 0 <= n_held_out < len(days):
        raise ValueError(f"split: expected n_held_out from 0 to {len(days) - 1} days, got {n_held_out}.")
    held_out, rest = days[:n_held_out], days[n_held_out:]
    return _write_all(rng.choice(rest, n_train), rng), _write_all(held_out, rng)


def encode(pairs: list[DatePair], symbols: Symbols, width: int) -> Pairs:
    """Writes pairs as ids; a source has at most `width` characters."""
    sources, targets = [symbols.encode(pair.human) for pair in pairs], [ISO.encode(pair.iso) for pair in pairs]
    return pad_pairs(sources, targets, max_source=width)


def load(pairs: int, held_out: int, seed: int) -> tuple[Symbols, Pairs, Pairs, list[DatePair]]:
    """Draws dates: symbols of the training dates, both parts as ids, and the held-out part as it is written."""
    training_pairs, held_out_pairs = split(pairs, held_out, seed)
    symbols = Symbols.of(pair.human for pair in training_pairs)
    width = max(len(pair.human) for pair in (*training_pairs, *held_out_pairs))
    return symbols, *(encode(part, symbols, width) for part in (training_pairs, held_out_pairs)), held_out_pairs


def _check_years(first_year: int, last_year: int) -> None:
    if not 1000 <= first_year <= last_year <= 9999:
        raise ValueError(f"expected years of four digits, the first one first, got {first_year} to {last_year}.")


def _write_all(days: np.ndarray, rng: np.random.Generator) -> list[DatePair]:
    """Each of N days (ordinals `[N]`) in a random form of a random locale."""
    locales, choices = rng.integers(len(LOCALES), size=len(days)), rng.random(len(days))
    pairs = []
    for day, i, choice in zip(days.tolist(), locales.tolist(), choices.tolist(), strict=True):
        date, locale = datetime.date.fromordinal(day), LOCALES[i]
        forms = _forms(locale, date.day > 12)
        pairs.append(DatePair(_write(date, locale, *forms[int(choice * len(forms))]), date.isoformat()))
    return pairs


def _write(date: datetime.date, locale: str, template: str, case: Callable[[str], str]) -> str:
    """A date in a form of its locale; Babel's format_date, with names looked up once and in the locale's digits."""
    names, digits = _names(locale)
    fields = {"y": date.year, "M": date.month, "MM": f"{date.month:02}", "d": date.day, "dd": f"{date.day:02}"}
    fields |= {pattern: names[pattern][date.month] for pattern in ("MMM", "MMMM")}
    fields |= {pattern: names[pattern][date.weekday()] for pattern in ("EEE", "EEEE")}
    suffix = "th" if 11 <= date.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
    return case(template % {**fields, "th": f"{date.day}{suffix}"}).translate(digits)


def patterns(locale: str, above_12: bool) -> list[str]:
    """The Unicode date patterns of a locale, without the English ordinals; `above_12`: the day of the month is."""
    own = [re.sub("y+", "y", get_date_format(style, locale).pattern) for style in STYLES]  # four digits, never two
    more = [*PATTERNS, *YEAR_FIRST, *(MONTH_FIRST if locale == "en_US" else DAY_FIRST)]
    if locale.startswith("en"):
        more += ENGLISH
    return list(dict.fromkeys(p for p in (*own, *more) if above_12 or not re.fullmatch(r"MM?\Wdd?\Wy", p)))


@functools.cache
def _forms(locale: str, above_12: bool) -> list[tuple[str, Callable[[str], str]]]:
    """The forms of a locale that are not ambiguous: templates over the fields of a date, and what is done to case."""
    if locale not in LOCALES:
        raise ValueError(f"expected a locale among {', '.join(LOCALES)}, got {locale!r}.")
    templates = [parse_pattern(pattern).format for pattern in patterns(locale, above_12)]
    templates += ENGLISH_ORDINALS if locale.startswith("en") else ()
    # Digits have no case: written once, a form of digits only is drawn a third as often as one with the month's name.
    return [(t, case) for t in templates for case in ((str, str.lower, str.upper) if "MMM" in t else (str,))]


@functools.cache
def _names(locale: str) -> tuple[dict[str, Mapping[int, str]], dict[int, str]]:
    """What a locale calls months (1 ... 12) and days of the week (0 ... 6), by pattern, and its digits for ours."""
    zero = ord(ZERO[Locale.parse(locale).default_numbering_system])
    names = {
        "MMM": get_month_names("abbreviated", "format", locale),
        "MMMM": get_month_names("wide", "format", locale),
        "EEE": get_day_names("abbreviated", "format", locale),
        "EEEE": get_day_names("wide", "format", locale),
    }
    return names, {ord("0") + i: chr(zero + i) for i in range(10)}
