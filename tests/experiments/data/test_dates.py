"""Dates as people write them: equal to Babel's, readable in one way only, and never trained on where held out."""

import datetime
import re
from collections import Counter

import numpy as np
import pytest
from babel.dates import format_date

from experiments.data import dates
from experiments.data.dates import LOCALES, human_forms, split

PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
DIGITS_ONLY = re.compile(r"\d+\W\d+\W\d+")


def some_days(n, seed):
    return [datetime.date.fromordinal(int(i)) for i in np.random.default_rng(seed).integers(547_500, 767_000, n)]


@pytest.mark.parametrize("locale", LOCALES)
def test_forms_are_those_of_babel(locale):
    for day in [*some_days(37, seed=0), *(datetime.date(1969, month, 20) for month in range(1, 13))]:
        expected = [format_date(day, pattern, locale) for pattern in dates.patterns(locale, day.day > 12)]
        expected += [format_date(day, style, locale) for style in ("full", "long", "medium")]
        if locale == "fa":  # Babel leaves the digits Latin
            expected = [form.translate(PERSIAN) for form in expected]
        forms = set(human_forms(day, locale))
        assert {case(form) for form in expected for case in (str, str.lower, str.upper)} <= forms
        others = {form for form in forms if form.lower() not in {e.lower() for e in expected}}
        assert all(re.search(r"\d(st|nd|rd|th)\b", form, re.IGNORECASE) for form in others)
        assert bool(others) == locale.startswith("en")


@pytest.mark.parametrize("locale", LOCALES)
def test_every_locale_has_its_short_form_with_four_digits(locale):
    short = {
        "en_US": "7/20/1969",
        "en_GB": "20/07/1969",
        "fr": "20/07/1969",
        "de": "20.07.1969",
        "es": "20/7/1969",
        "it": "20/07/1969",
        "nl": "20-07-1969",
        "pt": "20/07/1969",
        "fa": "۱۹۶۹/۷/۲۰",
    }
    assert short[locale] in human_forms(datetime.date(1969, 7, 20), locale)


@pytest.mark.parametrize(
    ("day", "form"),
    [
        ((1969, 7, 20), "July 20th 1969"),
        ((1969, 7, 20), "July 20th, 1969"),
        ((1969, 7, 20), "the 20th of July 1969"),
        ((1969, 7, 20), "20 JULY 1969"),
        ((1969, 7, 20), "sunday, july 20, 1969"),
        ((1564, 4, 23), "23 April, 1564"),
        ((1564, 4, 23), "april 23rd 1564"),
    ],
)
@pytest.mark.parametrize("locale", ["en_US", "en_GB"])
def test_english_forms(locale, day, form):
    if form == "sunday, july 20, 1969" and locale == "en_GB":
        form = "sunday, july 20th, 1969"
    assert form in human_forms(datetime.date(*day), locale)


@pytest.mark.parametrize(
    ("locale", "form"),
    [
        ("fr", "dimanche 20 juillet 1969"),
        ("fr", "20 juil. 1969"),
        ("de", "Sonntag, 20. Juli 1969"),
        ("es", "domingo, 20 de julio de 1969"),
        ("it", "DOMENICA 20 LUGLIO 1969"),
        ("nl", "zondag 20 juli 1969"),
        ("pt", "20 de julho de 1969"),
    ],
)
def test_forms_of_other_locales(locale, form):
    assert form in human_forms(datetime.date(1969, 7, 20), locale)


def test_persian_forms():
    """Of a month that is written the same in every edition of Unicode's locale data, as July is not."""
    assert {"یکشنبه ۱۵ ژوئن ۱۹۶۹", "۱۵ ژوئن ۱۹۶۹"} <= {*human_forms(datetime.date(1969, 6, 15), "fa")}


def test_ordinals():
    for day in range(1, 32):
        suffix = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}.get(day, "th")
        forms = human_forms(datetime.date(1969, 7, day), "en_GB")
        assert f"July {day}{suffix} 1969" in forms
        assert len({f for form in forms for f in re.findall(r"\d+(?:st|nd|rd|th)", form)}) == 1


def test_persian_dates_have_persian_digits():
    for day in some_days(37, seed=1):
        for form in human_forms(day, "fa"):
            assert re.search("[۰-۹]{4}", form) and not re.search("[0-9A-Za-z]", form)
    for locale in set(LOCALES) - {"fa"}:
        assert not any(re.search("[۰-۹]", form) for form in human_forms(day, locale))


@pytest.mark.slow
def test_no_form_can_be_read_in_two_ways():
    # Every day of a year and of a leap year in every form, whatever the case: years always have four digits, so
    # that only day and month could be mistaken.
    meaning = {}
    for ordinal in range(datetime.date(1911, 1, 1).toordinal(), datetime.date(1913, 1, 1).toordinal()):
        day = datetime.date.fromordinal(ordinal)
        for locale in LOCALES:
            for form in human_forms(day, locale):
                assert meaning.setdefault(form.lower(), day) == day, form
    assert len(meaning) > 75 * 731


def test_digits_are_read_with_the_day_or_the_year_first_wherever_they_can_be():
    for day in [datetime.date(1969, 7, 4), datetime.date(1969, 7, 20), datetime.date(1969, 12, 12)]:
        for locale in LOCALES:
            for form in filter(DIGITS_ONLY.fullmatch, human_forms(day, locale)):
                a, b, c = map(int, re.split(r"\W", form))
                readings = [(a, b, c)] if a > 99 else [(c, b, a)] if b <= 12 else [(c, a, b)]
                assert readings == [(day.year, day.month, day.day)], form
    assert "7/20/1969" in human_forms(datetime.date(1969, 7, 20), "en_US")
    assert "7/4/1969" not in human_forms(datetime.date(1969, 7, 4), "en_US")


def test_each_form_is_listed_once():
    for locale in LOCALES:
        forms = human_forms(datetime.date(1969, 5, 20), locale)
        assert len(forms) == len(set(forms)) > 10


def test_samples_are_spread_over_days_locales_and_forms():
    got = split(20_011, 0, seed=5)[0]
    assert len(got) == 20_011
    years = Counter(int(pair.iso[:4]) // 100 for pair in got)
    assert set(years) == {*range(15, 21), 21} and min(years[c] for c in range(15, 21)) > 2_900
    assert min(Counter(pair.iso[5:7] for pair in got).values()) > 1_300
    assert {pair.iso[8:] for pair in got} == {f"{day:02}" for day in range(1, 32)}
    persian = np.mean([bool(re.search("[۰-۹]", pair.human)) for pair in got])
    assert abs(persian - 1 / len(LOCALES)) < 0.01
    digits_only = np.mean([bool(DIGITS_ONLY.fullmatch(pair.human)) for pair in got])
    assert 0.1 < digits_only < 0.4
    assert any(pair.human.islower() for pair in got) and any(pair.human.isupper() for pair in got)
    assert any("th of" in pair.human for pair in got)


def test_samples_are_forms_of_their_date():
    for pair in split(499, 0, seed=7)[0]:
        day = datetime.date.fromisoformat(pair.iso)
        assert any(pair.human in human_forms(day, locale) for locale in LOCALES)


def test_samples_depend_on_their_seed_only():
    assert split(101, 11, seed=3) == split(101, 11, seed=3) != split(101, 11, seed=4)


def test_the_range_of_years_is_kept_with_both_ends():
    got = split(2_003, 0, seed=0, first_year=1999, last_year=2000)[0]
    days = {pair.iso for pair in got}
    assert {day[:4] for day in days} == {"1999", "2000"} and len(days) > 600
    training, held_out = split(0, 730, seed=0, first_year=1999, last_year=2000)
    assert not training and {"1999-01-01", "2000-12-31", "2000-02-29"} & {pair.iso for pair in held_out}


def test_held_out_days_are_never_trained_on():
    training, held_out = split(20_011, 499, seed=1, first_year=1999, last_year=2001)
    trained = {pair.iso for pair in training}
    assert len(training) == 20_011 and len(held_out) == 499 == len({pair.iso for pair in held_out})
    assert not trained & {pair.iso for pair in held_out}
    assert len(trained) == 1_096 - 499  # the rest of three years
    assert not {pair.human for pair in training} & {pair.human for pair in held_out}
    assert {pair.iso[:4] for pair in held_out} == {"1999", "2000", "2001"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split(3, 0, seed=0, first_year=999), "years of four digits, the first one first, got 999 to 2100"),
        (lambda: split(3, 0, seed=0, first_year=2001, last_year=2000), "the first one first, got 2001 to 2000"),
        (lambda: human_forms(datetime.date(999, 1, 1), "fr"), "years of four digits"),
        (lambda: human_forms(datetime.date(1999, 1, 1), "sv"), "expected a locale among en_US.*got 'sv'"),
        (lambda: split(3, 365, seed=0, first_year=1999, last_year=1999), "n_held_out from 0 to 364 days, got 365"),
        (lambda: split(3, -1, seed=0), "got -1"),
    ],
)
def test_what_cannot_be_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
