"""What a list shows of a change: what was before never looks like what is after."""

import pytest

from audit.diff import brief


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
