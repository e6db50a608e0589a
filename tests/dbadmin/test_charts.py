"""What is drawn keeps its gaps, states its unit and reads its window from the address."""

import datetime as dt
import json

from django.http import QueryDict
from django.utils import timezone

from dbadmin.charts import ChartView, Limit, Line, Mark, TimeRange, meter, sparkline

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def chart(points, **options) -> ChartView:
    line = Line("shop", points)
    return ChartView("c", "Size", "size_bytes", [line], NOON - dt.timedelta(hours=1), NOON, **options)


def test_a_sparkline_has_a_line_for_each_stretch_between_gaps():
    drawn = sparkline([1, 2, None, None, 3, 4])
    assert drawn.count("M") == 2
    assert "<circle" not in drawn


def test_a_lone_sample_between_gaps_is_a_dot():
    assert sparkline([None, 5, None, 1, 2]).count("<circle") == 1


def test_a_sparkline_of_nothing_is_a_dash():
    assert sparkline([None, None]) == '<span class="dash">–</span>' == sparkline(None)


def test_a_sparkline_is_named_or_hidden_and_its_name_is_escaped():
    assert 'role="img" aria-label="&lt;b&gt;"' in sparkline([1, 2], "<b>")
    assert 'aria-hidden="true"' in sparkline([1, 2])


def test_the_scale_of_a_column_is_given_from_outside():
    assert sparkline([1, 1], top=2) != sparkline([1, 1])


def test_a_meter_never_leaves_its_frame():
    assert 'width="100.0"' in meter(250, 100)
    assert meter(1, 0) == '<span class="dash">–</span>' == meter(None, 5)


def test_a_gap_stays_a_gap_in_the_data_and_in_the_numbers():
    view = chart([(NOON.timestamp(), 1024), (NOON.timestamp() + 60, None)])
    assert view.data["lines"][0] == {
        "label": "shop",
        "first": NOON.timestamp() * 1000,
        "steps": [[60_000, 1]],
        "values": [1024, None],
    }
    assert view.rows.startswith('<tr><td class="when">2026-03-01 12:01</td><td class="number">–</td></tr>')


def test_lines_of_the_same_moments_say_them_once_and_a_week_of_hours_is_light():
    hours = [(NOON.timestamp() + 3600 * n, 1234567.0 + n) for n in range(168)]
    late = [*hours[:-1], (hours[-1][0] - 1800, 7.0)]
    view = ChartView(
        "x", "Rows", "live_rows", [Line("a", hours), Line("b", hours), Line("c", late)], NOON, NOON
    )
    first, second, third = view.data["lines"]
    assert (first["steps"], third["steps"]) == ([[3_600_000, 167]], [[3_600_000, 166], [1_800_000, 1]])
    assert "steps" not in second
    assert len(json.dumps(view.data)) < 7000


def test_limits_and_events_reach_the_canvas():
    view = chart([], limits=[Limit(5, "Warning")], marks=[Mark(NOON, "Restart")])
    assert view.data["limits"] == [{"value": 5, "word": "Warning", "state": "warning"}]
    assert view.data["marks"] == [{"at": NOON.timestamp() * 1000, "text": "Restart"}]


def test_a_chart_says_in_words_what_it_shows():
    view = chart([(1, 1024), (2, 4096), (3, 2048)])
    assert view.summary == "Size. shop: lowest 1 KiB, highest 4 KiB, last 2 KiB."


def test_a_chart_without_samples_says_so():
    assert chart([(1, None)]).empty == "No samples in this window yet."


def test_long_series_list_at_most_two_hundred_moments():
    assert chart([(n, 1) for n in range(5000)]).rows.count("<tr>") <= 200


def test_a_window_is_read_from_the_address():
    window = TimeRange.of(QueryDict("from=2026-03-01T10:00&to=2026-03-01T12:30:00Z&db=shop"))
    assert (window.start, window.end) == (NOON - dt.timedelta(hours=2), NOON + dt.timedelta(minutes=30))
    assert window.seconds == 9000
    assert not window.is_live
    assert window.label == "2026-03-01 10:00 – 2026-03-01 12:30"


def test_a_window_that_ends_before_it_begins_is_read_the_other_way_round():
    window = TimeRange.of(QueryDict("from=2026-03-01T12:30:00Z&to=2026-03-01T10:00:00Z"))
    assert (window.start, window.end) == (NOON - dt.timedelta(hours=2), NOON + dt.timedelta(minutes=30))


def test_a_window_of_a_second_is_widened_to_what_holds_a_sample():
    window = TimeRange.of(QueryDict("from=2026-03-01T12:00:00Z&to=2026-03-01T12:00:01Z"))
    assert window.start + (window.end - window.start) / 2 == NOON + dt.timedelta(seconds=0.5)
    assert window.seconds == 120


def test_a_window_with_an_end_alone_is_as_long_as_it_would_be():
    window = TimeRange.of(QueryDict("to=2026-03-01T12:00:00Z&range=6h"))
    assert (window.start, window.end, window.name) == (NOON - dt.timedelta(hours=6), NOON, "")


def test_a_named_window_ends_now_and_keeps_the_rest_of_the_address():
    window = TimeRange.of(QueryDict("range=6h&db=shop&page=3"))
    assert (timezone.now() - window.end).total_seconds() < 5
    assert window.label == "Last 6 hours"
    assert window.presets[0].query == "?db=shop&range=15m"
    assert [preset.label for preset in window.presets if preset.current] == ["Last 6 hours"]


def test_nonsense_in_the_address_is_the_default_window():
    for nonsense in (
        "range=forever",
        "from=yesterday",
        "from=2026-13-45T00:00",
    ):
        assert TimeRange.of(QueryDict(nonsense)).name == "1h"
