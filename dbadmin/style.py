"""/style/: every component in every state, with made-up data; what is not shown here does not exist."""

import datetime as dt
import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from dbadmin.charts import ChartView, Figure, Limit, Line, Mark, TimeRange, sparkline
from dbadmin.operations import Operation, Risk
from dbadmin.probe_headers import Action
from dbadmin.probes import Column, Problem
from dbadmin.tables import FiguresView, TableView
from dbadmin.units import unit_of


class Row(NamedTuple):
    """One line of the sample tables."""

    relation: str
    size_bytes: int | None
    live_rows: int | None
    dead_ratio: float | None
    index_scans_total: int | None
    vacuumed_at: dt.datetime | None
    wait_seconds: float | None
    query: str | None


class Vacuum(Operation):
    """A button that leads to a preview."""

    name, title, risk = "vacuum", "Vacuum table", Risk.LOADS


class Drop(Operation):
    """A button that leads to something that cannot be taken back lightly."""

    name, title, risk = "drop", "Drop table", Risk.DESTROYS


NAMES = Row._fields
QUERY = (
    "select e.user_id, count(*) filter (where p.completed_at is not null) as done from enrollments e"
    " join progress p using (enrollment_id) where e.course_id = $1 group by e.user_id order by done limit 50"
)


def columns(names: Iterable[str] = NAMES) -> list[Column]:
    """With their units."""
    return [
        Column(name, unit_of(name), "What autovacuum has not yet removed" if "dead" in name else "")
        for name in names
    ]


def rows(now: dt.datetime) -> list[Any]:
    """One of each kind: critical, warning, healthy, unknown, and something hostile."""
    day = dt.timedelta(days=1)
    return [
        Row(
            "public.analytics_events",
            48_318_382_080,
            182_400_310,
            0.31,
            4_102_331,
            now - 9 * day,
            411.7,
            QUERY,
        ),
        Row(
            "public.quiz_attempts",
            1_610_612_736,
            12_004_118,
            0.184,
            90_211,
            now - day,
            74.2,
            "delete from quiz_attempts",
        ),
        Row("public.enrollments", 123_731_968, 48_120, 0.021, 1_204_888, now, 0.34, "select 1"),
        Row("public.<script>alert(1)</script>", 8192, 0, 0.0, 0, None, None, None),
        Row("public.progress", None, None, None, None, None, None, "vacuum (verbose) public.progress"),
    ]


def state_of(row: Any) -> str:
    """By the seconds waited."""
    if row.wait_seconds is None:
        return ""
    return "critical" if row.wait_seconds > 300 else "warning" if row.wait_seconds > 30 else ""


def tables(params: QueryDict) -> dict[str, TableView]:
    """A table in each state."""
    now = timezone.now()
    note = f"Read at {timezone.localtime(now):%H:%M:%S} in database shop in 12 ms."
    few = rows(now)
    many = [
        few[n % 3]._replace(relation=f"public.events_{2020 + n // 12}_{n % 12 + 1:02}") for n in range(140)
    ]
    missing = Problem(
        "extension",
        "The extension pg_stat_statements is not installed in database shop.",
        "CREATE EXTENSION pg_stat_statements;",
    )
    about = "Sessions that wait for a lock, and the sessions that hold it."
    return {
        "rows": TableView(
            "waiting",
            "Blocked sessions",
            columns(),
            few,
            params,
            about=about,
            state_of=state_of,
            searchable=True,
            trips={"wait_seconds": ""},
            read_note=note,
            csv_url="?format=csv",
            json_url="?format=json",
            links={"relation": lambda row: "?relation=1"},
            actions=[(Vacuum, Action("vacuum", ())), (Drop, Action("drop", ()))],
            server_name="shop",
        ),
        "paged": TableView(
            "tables", "Tables", columns(NAMES[:6]), many, params, "tables", limit=8, read_note=note, cut=318
        ),
        "empty": TableView(
            "empty", "Long transactions", columns(), [], params, empty="No session waits for a lock."
        ),
        "unmatched": TableView(
            "unmatched", "Indexes", columns(), few, QueryDict("unmatched.q=nowhere"), "unmatched"
        ),
        "problem": TableView(
            "problem", "Slow queries", columns(), [], params, problem=missing, read_note=note
        ),
        "stale": TableView(
            "stale",
            "Replication slots",
            columns(NAMES[:4]),
            few[:2],
            params,
            read_note=note,
            stale="Not renewed since 09:41:12, 6 min 12 s ago.",
        ),
    }


def wave(now: dt.datetime, phase: float, height: float) -> list[tuple[float, float | None]]:
    """An hour of made-up samples with a gap in it."""
    start = now.timestamp() - 3600
    return [
        (
            start + n * 30,
            None if 62 <= n < 74 else height * (1.2 + math.sin(n / 9 + phase) + math.sin(n * 1.7) / 6),
        )
        for n in range(121)
    ]


def charts() -> dict[str, ChartView]:
    """One line with limit and event; several lines; nothing yet."""
    now = timezone.now()
    hour = now - dt.timedelta(hours=1)
    states = ("active", "idle", "idle in transaction", "waiting", "fastpath", "disabled", "others")
    return {
        "one": ChartView(
            "chart-size",
            "Dead rows left",
            "temp_bytes",
            [Line("temporary files", wave(now, 0, 9e8))],
            hour,
            now,
            limits=[Limit(1.6e9, "Warning"), Limit(2.1e9, "Critical", "critical")],
            marks=[Mark(now - dt.timedelta(minutes=14), "Vacuum table public.progress")],
        ),
        "several": ChartView(
            "chart-states",
            "Connections by state",
            "connection_count",
            [Line(state, wave(now, n, 40 / (n + 1))) for n, state in enumerate(states)],
            hour,
            now,
        ),
        "empty": ChartView("chart-empty", "WAL written", "wal_bytes_per_second", [], hour, now),
    }


def figures() -> FiguresView:
    """Key figures, one of them bad, one unknown."""
    values: list[float | None] = [3, 4, 4, 6, 9, None, None, 5, 4, 8, 12, 7]
    return FiguresView(
        "vitals",
        "Vital signs",
        [
            Figure.of("connection_count", 87, note="of 100", state="warning", label="Connections"),
            Figure.of("hit_ratio", 0.98934, label="Cache hits", sparkline=sparkline(values, top=12)),
            Figure.of("transactions_per_second", 1284.4, sparkline=sparkline(values)),
            Figure.of("database_bytes", 51_539_607_552, note="+1.2 GiB in 7 days"),
            Figure.of("oldest_transaction_seconds", 4_212, state="critical", note="Critical: > 1 h"),
            Figure.of("replication_lag_seconds", None, note="no replica"),
            Figure.of("wal_bytes_per_second", 4_812_331),
        ],
        about="The last minute.",
        read_note="Read at 09:47:49 in 3 ms.",
    )


class SampleForm(forms.Form):
    """One field of each kind, two of them wrong."""

    index = forms.CharField(help_text="Its name without the schema.")
    schema = forms.ChoiceField(choices=[("public", "public"), ("analytics", "analytics")])
    jobs = forms.IntegerField(min_value=1, max_value=8, required=False, label="Parallel jobs")
    at = forms.DateTimeField(required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))
    concurrently = forms.BooleanField(required=False, initial=True, help_text="Readers and writers go on.")
    how = forms.ChoiceField(
        choices=[("a", "Restore beside"), ("b", "Replace")], widget=forms.RadioSelect, initial="a"
    )
    note = forms.CharField(widget=forms.Textarea, required=False)


def runs() -> list[SimpleNamespace]:
    """A run in each status."""
    now = timezone.now()
    said = {
        "queued": "Waits for a free worker.",
        "running": "Dumps table public.analytics_events.",
        "succeeded": "4.8 GiB written and read back; 42 tables, 214 880 411 rows.",
        "failed": "Not started: shop has 2.1 GiB free, its last backup took 4.8 GiB. Free some, or use S3.",
        "cancelled": "maria asked for it after 2 min 4 s.",
        "refused": "The server changed since the preview. Look at the new plan.",
        "lost": "Its worker ended in the middle; the partial file was removed.",
    }
    return [
        SimpleNamespace(
            pk=90 + n,
            title="Take backup",
            target="shop",
            server_name="shop",
            user_name="maria",
            door="page",
            status=status,
            queued_at=now - dt.timedelta(minutes=9 * n),
            started_at=None if status == "queued" else now,
            finished_at=None if status in {"queued", "running"} else now + dt.timedelta(seconds=14.2 * n),
            message=message,
            get_absolute_url="?run=1",
            progress_done=3_328_599_654,
            progress_total=5_153_960_755,
            progress_unit="bytes",
        )
        for n, (status, message) in enumerate(said.items())
    ]


STEPS = (
    {
        "text": "DROP INDEX CONCURRENTLY public.orders_note_idx;",
        "state": "done",
        "word": "done",
        "reverse": "CREATE INDEX CONCURRENTLY orders_note_idx ON public.orders USING btree (note);",
    },
    {
        "text": "pg_dump --format=custom --compress=0 --file=- --dbname=shop",
        "state": "running",
        "word": "runs",
    },
    {"text": "Read the file back and compare 42 checksums", "state": "failed", "word": "failed"},
    {
        "text": "BEGIN;\nALTER DATABASE shop RENAME TO shop__before;\nCOMMIT;",
        "state": "waiting",
        "word": "waits",
    },
)
CHECKS = (
    {
        "state": "critical",
        "title": "Right to read statistics",
        "message": "Texts of other roles' statements stay hidden.",
        "remedy": "GRANT pg_monitor TO dbadmin;",
    },
    {
        "state": "warning",
        "title": "pg_stat_statements",
        "message": "Not loaded; slow queries cannot be shown.",
        "remedy": "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'; -- then restart",
    },
    {"state": "unknown", "title": "Archiver", "message": "Only a primary can tell."},
    {"state": "ok", "title": "Version", "message": "PostgreSQL 15.18"},
)


@login_required
@require_GET
def style(request: HttpRequest) -> HttpResponse:
    """All of them on one page."""
    form = SampleForm({"index": "", "schema": "public", "jobs": "12", "how": "a"})
    form.is_valid()
    context = {
        "time_range": TimeRange.of(request.GET),
        "tables": tables(request.GET),
        "charts": charts(),
        "figures": figures(),
        "form": form,
        "runs": runs(),
        "steps": STEPS,
        "checks": CHECKS,
        "now": timezone.now(),
        "before": timezone.now() - dt.timedelta(days=40),
        "page": Paginator(range(3400), 100).page(2),
        "series": [3, 4, 4, 6, 9, None, None, 5, 4, 8, 12, 7],
        "lone": [None, 4, None, 6, 9, 2],
    }
    return render(request, "dbadmin/style.html", context)
