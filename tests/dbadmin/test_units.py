"""A column's name carries its unit, and people read it in the house's way."""

import datetime as dt

import pytest

from dbadmin.probe_headers import HeaderError, parse_actions, parse_header, seconds, threshold
from dbadmin.units import several, unit_of


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("size_bytes", 12_375_000, "11.8 MiB"),
        ("size_bytes", 0, "0 B"),
        ("size_bytes", None, "–"),
        ("wait_seconds", 372, "6 min 12 s"),
        ("wait_seconds", 0.00042, "0.42 ms"),
        ("wait_seconds", 187_200, "2 d 4 h"),
        ("hit_ratio", 0.98949, "98.9 %"),
        ("hit_ratio", 0.99999, "99.9 %"),
        ("hit_ratio", 1, "100 %"),
        ("share_ratio", 0.0061649, "0.62 %"),
        ("share_ratio", 0.000616, "0.06 %"),
        ("live_rows", 48120, "48\u202f120"),
        ("calls_total", 1234567, "1\u202f234\u202f567"),
        ("name", True, "yes"),
        ("names", ["a", "b"], "a, b"),
    ],
)
def test_values_are_read_in_one_way(column: str, value: object, text: str) -> None:
    assert unit_of(column).text(value) == text


def test_moments_are_short_today_and_dated_before() -> None:
    from django.utils import timezone

    now = timezone.now()
    assert unit_of("at").text(now) == f"{timezone.localtime(now):%H:%M:%S}" or unit_of("made_at").text(now)
    assert unit_of("made_at").text(dt.datetime(2025, 3, 1, 9, 47, tzinfo=dt.UTC)) == "2025-03-01 09:47"


def test_a_header_says_what_it_means_or_is_refused() -> None:
    header, notes = parse_header(["-- title: A", "-- about: B", "-- column wait_seconds: since when"])
    assert header == {"title": "A", "about": "B"}
    assert notes == {"wait_seconds": "since when"}
    with pytest.raises(HeaderError, match="unknown key 'colour'"):
        parse_header(["-- title: A", "-- about: B", "-- colour: red"])
    with pytest.raises(HeaderError, match="'about' is missing"):
        parse_header(["-- title: A"])
    with pytest.raises(HeaderError, match="'x >> 1' is no threshold; write: column > number"):
        threshold("x >> 1")
    with pytest.raises(HeaderError, match="'soon' is no length of time; write 30s, 5m or 1h"):
        seconds("soon")


def test_actions_name_an_operation_and_its_fields() -> None:
    first, second = parse_actions("drop_index(schema, index=name), cancel_backend(pid)")
    assert (first.operation, first.fields) == ("drop_index", (("schema", "schema"), ("index", "name")))
    assert (second.operation, second.fields) == ("cancel_backend", (("pid", "pid"),))


def test_one_is_one_and_all_else_is_several() -> None:
    found = [several(number, "row") for number in (0, 1, 2, 48_120)]
    assert found == ["0 rows", "1 row", "2 rows", "48\N{NARROW NO-BREAK SPACE}120 rows"]
