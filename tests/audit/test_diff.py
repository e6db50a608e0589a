"""What a list shows of a change: what was before never looks like what is after."""

import json

import pytest

from audit.diff import brief, lines
from audit.templatetags.audit_diff import changes, pieces
from dbadmin.units import count


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("2026-11-28 02:40:22.1+00", "2026-11-29 02:40:23+00", ["2026-11-28 02:40:22", "2026-11-29 02:40:23"]),
        (
            "2026-11-28 02:40:22.123+00",
            "2026-11-28 02:40:22.456+00",
            ["2026-11-28 02:40:22.123+00", "2026-11-28 02:40:22.456+00"],
        ),
        ("7" * 50 + "/1", "7" * 50 + "/2", ["…7777777/1", "…7777777/2"]),
        (None, "null", ["null", '"null"']),
        (None, "", ["null", "(empty)"]),
        ("a", "b" * 50, ["a", "b" * 39 + "…"]),
    ],
)  # fmt: skip
def test_a_change_shows_where_its_values_differ(old, new, shown):
    (line,) = brief({"value": old}, {"value": new})
    assert [piece.text for piece in line.pieces] == shown


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('{"a": 1}', '{"a": "1"}', [("value.a", ["1", '"1"'])]),
        ('{"a": null}', '{"a": "null"}', [("value.a", ["null", '"null"'])]),
        ('{"a": true}', '{"a": "true"}', [("value.a", ["true", '"true"'])]),
        ('{"a": []}', '{"a": "[]"}', [("value.a", ["[]", '"[]"'])]),
        ('{"a": ""}', '{"a": " "}', [("value.a", ['""', " "])]),
        ('{"a": "0044-03-15"}', '{"a": "new"}', [("value.a", ["0044-03-15", "new"])]),
        ('{"a.b": 5}', '{"a": {"b": 5}}', [('value."a.b"', ["5"]), ("value.a.b", ["5"])]),
        ('{"a[0]": 5}', '{"a": [5]}', [('value."a[0]"', ["5"]), ("value.a[0]", ["5"])]),
        ('{"": 5}', '{"": 6}', [('value.""', ["5", "6"])]),
        ("[1.10]", "[1.1]", [("value[0]", ["1.10", "1.1"])]),
        ("[98765432109876543210]", "[7]", [("value[0]", ["98765432109876543210", "7"])]),
        ('{"b": 1, "a": 2}', '{"a": 2,  "b": 1}', [("value", ["the same values, written differently"])]),
        ('{"a": 1, "a": 3}', '{"a": 2, "a": 3}', [("value", ['{"a": 1, "a": 3}', '{"a": 2, "a": 3}'])]),
    ],
)  # fmt: skip
def test_each_difference_of_json_is_told_as_what_it_is(old, new, told):
    found = [
        (line.name, [piece.text for piece in line.pieces]) for line in lines({"value": old}, {"value": new})
    ]
    assert found == told


@pytest.mark.parametrize("depth", [101, 3_000, 100_000])
def test_json_that_lies_too_deep_for_paths_is_told_whole(depth):
    old, new = (f"{'[' * depth}{end}{']' * depth}" for end in "12")
    (line,) = lines({"value": old}, {"value": new})
    assert [piece.text for piece in line.pieces] == [old, new]


def test_of_very_many_paths_a_page_shows_the_first_and_counts_the_others():
    old, new = (json.dumps({f"k{number}": f"{value}" for number in range(1_003)}) for value in "xy")
    found = lines({"value": old}, {"value": new})
    assert (len(found), found[0].name, found[999].name) == (1_001, "value.k0", "value.k999")
    assert found[-1].pieces[0].text == "3 more paths differ: an export has all"


def test_one_word_of_a_very_long_text_is_shown_among_what_is_alike():
    long = "The quick brown fox jumps over the dog. " * 10_000
    (line,) = lines(
        {"value": f"{long}It is lazy today. {long}"}, {"value": f"{long}It is sleepy today. {long}"}
    )
    assert [(piece.kind, piece.text) for piece in line.pieces[1:-1]] == [("old", "lazy"), ("new", "sleepy")]
    assert pieces(line).count("characters are not shown here") == 2
    assert len(pieces(line)) < 5_000


def test_a_value_that_is_too_long_for_a_page_says_how_much_of_it_is_not_shown():
    (line,) = lines({"value": None}, {"value": "ab" * 30_000})
    shown = f'<span class="muted">… {count(10_000)} characters are not shown here …</span>'
    assert pieces(line) == f"<del>null</del> <ins>{'ab' * 12_500} {shown} {'ab' * 12_500}</ins>"


def test_a_list_counts_what_it_does_not_show():
    old, new = ({"doc": json.dumps([value] * 5), "a.b": value, "other": value} for value in "xy")
    found = brief(old, new)
    assert ([line.name for line in found], found.more) == (["doc[0]", "doc[1]", "doc[2]"], 4)
    assert changes(found).endswith('<span class="muted">and 4 more</span>')
    old, new = ({"doc": json.dumps([value] * 1_500)} for value in "xy")
    assert brief(old, new).more == 1_497


def test_an_update_that_changed_only_what_is_left_out_says_so():
    assert changes(brief({"a": "1"}, {"a": "1"}), "update") == (
        '<span class="muted">nothing that is recorded changed</span>'
    )
    assert changes(brief(None, {"a": None}), "insert") == ""
