"""What templates say the same way everywhere: states, moments, icons, addresses, buttons of operations."""

import datetime as dt
import functools
import unicodedata
from typing import Any
from urllib.parse import urlencode

from django import template
from django.forms import BoundField, CheckboxInput, Select
from django.template import Context
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from dbadmin import charts, subjects, units
from dbadmin.addresses import where
from dbadmin.operations import REGISTRY
from dbadmin.pages import PAGES
from dbadmin.permissions import may
from dbadmin.probes import Column

register = template.Library()

WORDS = {
    "ok": "OK",
    "warning": "Warning",
    "critical": "Critical",
    "unknown": "Unknown",
    "idle": "Idle",
    "busy": "Busy",
}
#: How a run's status looks.
RUN_STATES = {
    "waiting": "idle",
    "queued": "idle",
    "running": "busy",
    "succeeded": "ok",
    "failed": "critical",
    "cancelled": "unknown",
    "refused": "warning",
    "lost": "critical",
}
PROBLEMS = {
    "privilege": "A right is missing",
    "extension": "An extension is missing",
    "timeout": "No answer in time",
    "pending": "No answer yet",
    "locked": "A lock was in the way",
    "unreachable": "The server does not answer",
    "unsupported": "Not on this server",
    "busy": "Too many readers",
    "absent": "There is no such database",
    "error": "The server reports an error",
}
ICONS = {
    "menu": '<path d="M2 4.5h12M2 8h12M2 11.5h12"/>',
    "theme": '<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor"/>',
    "user": '<circle cx="8" cy="5.5" r="2.75"/><path d="M2.75 14c.5-3 2.5-4.5 5.25-4.5s4.75 1.5 5.25 4.5"/>',
    "mark": '<ellipse cx="8" cy="3.75" rx="5.5" ry="2.25"/><path d="M2.5 3.75v8.5c0 1.25 2.45 2.25 5.5 2.25'
    's5.5-1 5.5-2.25v-8.5M2.5 8h2.75l1.25-2 2 4.25L9.75 8h3.75"/>',
}


@register.simple_tag
@functools.cache
def asset(path: str) -> str:
    """Where a file of ours lies: as {% static %}, worked out once."""
    return static(path)


@register.simple_tag
@functools.cache
def icon(name: str) -> SafeString:
    """A drawing beside a word or inside a labelled button; never the only name of anything."""
    drawing = mark_safe(ICONS[name])  # noqa: S308 - our own constant
    return format_html(
        '<svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5"'
        ' stroke-linecap="round" aria-hidden="true" focusable="false">{}</svg>',
        drawing,
    )


@register.simple_tag
def status(state: str, text: str = "") -> SafeString:
    """Shape, word and colour together. The state's word is said aloud when the text does not carry it."""
    word = WORDS.get(state, state)
    if not text or text == word:
        return format_html('<span class="status {}">{}</span>', state, word)
    return format_html(
        '<span class="status long {}"><span><span class="sr">{}: </span>{}</span></span>', state, word, text
    )


@register.simple_tag
def run_status(run: Any) -> SafeString:
    """A run's status as a state."""
    return format_html(
        '<span class="status {}">{}</span>',
        RUN_STATES.get(run.status, "unknown"),
        str(run.status).capitalize(),
    )


@register.filter
def run_state(value: str) -> str:
    """queued -> idle, failed -> critical."""
    return RUN_STATES.get(value, "unknown")


@register.filter
def unseen(text: str) -> str:
    """Whether a plan reads otherwise than it runs: it holds characters that are not seen, or turn the line."""
    line = text.replace("\n", "").replace("\t", "")
    if line.isprintable():  # as nearly all are: not letter by letter
        return ""
    found = {letter for letter in line if unicodedata.category(letter) in {"Cc", "Cf", "Zl", "Zp"}}
    if not found:
        return ""
    codes = (f"U+{ord(letter):04X} {unicodedata.name(letter, '')}".strip() for letter in sorted(found))
    return f"It reads otherwise than it looks, for it holds characters that are not seen: {', '.join(codes)}."


@register.filter
def problem_title(kind: str) -> str:
    """privilege -> A right is missing."""
    return PROBLEMS.get(kind, "There is a problem")


@register.filter(name="moment")
def moment_filter(value: dt.datetime | None) -> SafeString | str:
    """A moment by the house's rules, exact on hover and for machines."""
    if not value:  # also the empty text that a template makes of a missing variable
        return units.UNKNOWN
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        units.moment(value),
    )


@register.filter
def ago(value: dt.datetime | None) -> str:
    """6 min 12 s ago; only ever beside the moment itself."""
    if not value:
        return ""
    seconds = (timezone.now() - value).total_seconds()
    return f"{units.duration(round(seconds))} ago" if seconds >= 1 else "just now"


@register.filter
def took(seconds: float | dt.timedelta | None) -> str:
    """A length of time."""
    return units.UNKNOWN if seconds is None else units.duration(seconds)


@register.filter
def clock(value: dt.datetime) -> str:
    """14:05:09, for lines of a log."""
    return f"{timezone.localtime(value):%H:%M:%S}"


@register.filter
def run_took(run: Any) -> str:
    """How long a run took, or has been running."""
    if run.started_at is None:
        return units.UNKNOWN
    return units.duration(round(((run.finished_at or timezone.now()) - run.started_at).total_seconds(), 1))


@register.filter
def asker(run: Any) -> str:
    """maria; maria by command; a schedule."""
    how = {"command": "by command", "api": "through the API", "schedule": "by schedule"}.get(run.door, "")
    who = run.user_name or {"command": "the command line", "schedule": "a schedule"}.get(run.door, "somebody")
    return f"{who} {how}".strip() if run.user_name else who


@register.filter
def progress_text(run: Any) -> str:
    """3.1 GiB of 4.8 GiB, 64.6 %."""
    name = run.progress_unit or "objects"
    show = (
        units.unit_of(f"_{name}").text
        if name in {"bytes", "rows", "seconds"}
        else lambda n: f"{units.count(n)} {name}"
    )
    done = show(run.progress_done or 0)
    if not run.progress_total:
        return done
    ratio = (run.progress_done or 0) / run.progress_total
    return f"{done} of {show(run.progress_total)}, {units.percent(ratio)}"


#: What a person does next, by how a run ended; its message says why.
NEXT = {
    "failed": "Mend what the message names, then run it again.",
    "refused": "Nothing was done. Look at a new preview.",
}


@register.filter
def what_next(run: Any) -> str:
    """What a run that did not succeed asks of the person, and whether its traces are gone."""
    if run.facts.get("stays"):
        return ""
    cleaned = (
        "What it left unfinished is removed."
        if run.cleaned_at and run.status in ("failed", "cancelled")
        else ""
    )
    return f"{cleaned} {NEXT.get(run.status, '')}".strip()


@register.filter
def any_reverse(steps: Any) -> bool:
    """Can a plan be taken back?"""
    return any(getattr(step, "reverse", "") for step in steps)


@register.filter
def as_unit(value: Any, column: str) -> str:
    """A value as its column's name says: {{ backup.size|as_unit:"size_bytes" }}."""
    return units.unit_of(column).text(value)


@register.filter
def size(value: float | None) -> str:
    """11.8 MiB."""
    return units.UNKNOWN if value is None else units.size(value)


@register.filter
def count(value: float | None) -> str:
    """48 120."""
    return units.UNKNOWN if value is None else units.count(value)


@register.filter
def percent(value: float | None) -> str:
    """98.9 %, from a ratio."""
    return units.UNKNOWN if value is None else units.percent(value)


@register.filter
def short_version(text: str) -> str:
    """15.18 (Debian 15.18-0+deb12u1) -> 15.18."""
    return str(text).partition(" ")[0] if text else units.UNKNOWN


@register.simple_tag
def zone_name() -> str:
    """The zone in which this page shows times, with its distance from UTC unless it is UTC."""
    now = timezone.localtime()
    offset = f"{now:%z}"
    name = timezone.get_current_timezone_name()
    return name if offset == "+0000" else f"{name} (UTC{offset[:3]}:{offset[3:]})"


@register.simple_tag
def sparkline(values: Any, label: str = "", top: float | None = None) -> SafeString:
    """A line as wide as a word; None is a gap."""
    return charts.sparkline(values, label, top)


@register.simple_tag
def meter(value: float | None, limit: float | None, state: str = "") -> SafeString:
    """A bar of value in limit, drawn beside the numbers that say the same."""
    return charts.meter(value, limit, state)


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: Any) -> str:
    """The present address's query string with changes; None removes: {% query page=2 q=None %}."""
    params = context["request"].GET.copy()
    for name, value in changes.items():
        params.pop(name, None)
        if value not in (None, ""):
            params[name] = str(value)
    return f"?{params.urlencode()}" if params else "?"


@register.simple_tag(takes_context=True)
def operation_button(
    context: Context, name: str, server: Any, label: str = "", css: str = "", **params: Any
) -> str:
    """A link to an operation's page, its form filled in; nothing for those who may not run it."""
    operation = REGISTRY.get(name)
    if operation is None or not may(context["request"].user, operation.permission(), server):
        return ""
    return button(operation, str(server), params, label, css)


@register.simple_tag(takes_context=True)
def page_link(
    context: Context, name: str, server: Any, label: Any, database: str = "", **about: str
) -> SafeString:
    """A link to the page about one thing; the label alone for those who may not open it."""
    page = PAGES.get(name)
    if page is None or not may(context["request"].user, page.permission, server):
        return conditional_escape(str(label))
    return format_html('<a href="{}">{}</a>', subjects.address(page, str(server), database, about), label)


@register.simple_tag(takes_context=True)
def fix_button(context: Context, fix: Any, server: Any) -> str:
    """The operation that mends what a check found."""
    operation = REGISTRY[fix.operation]
    if not may(context["request"].user, operation.permission(), server):
        return ""
    return button(operation, str(server), dict(fix.params), fix.label, "small")


def button(operation: Any, server: str, params: dict[str, Any], label: str = "", css: str = "") -> SafeString:
    """A button that leads to the preview: an ellipsis says that a question follows."""
    filled = urlencode({key: value for key, value in params.items() if value is not None})
    address = where("operate", str(server), operation.name)
    danger = " danger" if operation.destroys(params) else ""
    return format_html(
        '<a class="button{}{}" href="{}">{}…</a>',
        danger,
        f" {css}" if css else "",
        f"{address}?{filled}" if filled else address,
        label or operation.title,
    )


@register.simple_tag
def crumb(text: Any, name: str = "", *args: Any) -> SafeString:
    """One step of the way to this page; without an address, or the name of one, it is the page itself."""
    address = name if name.startswith("/") else where(name, *args) if name else ""
    if address:
        return format_html('<li><a href="{}">{}</a></li>', address, text)
    return format_html('<li><span aria-current="page">{}</span></li>', text)


@register.inclusion_tag("_field.html")
def field(bound: BoundField, label: str = "") -> dict[str, Any]:
    """One field of a form: label, control, help, errors; Django itself wires their ids."""
    bound.field.widget.attrs.pop("placeholder", None)  # allauth repeats the label there
    return {
        "field": bound,
        "control": bound.as_widget(),
        "label": label or bound.label,
        "is_check": isinstance(bound.field.widget, CheckboxInput),
        "is_empty": isinstance(bound.field.widget, Select) and not list(bound.field.widget.choices),
    }


@register.simple_tag
def hidden_params(pairs: Any) -> SafeString:
    """Hidden inputs that keep the rest of the address when a form is sent by GET."""
    return format_html_join("", '<input type="hidden" name="{}" value="{}">', pairs)


@register.simple_tag
def hidden_fields(form: Any) -> SafeString:
    """A form's values once more, unseen, and without the ids that its visible fields have."""
    return format_html_join("", "{}", ((bound.as_hidden(attrs={"id": False}),) for bound in form))


@register.filter
def as_pairs(value: Any) -> list[tuple[str, str]]:
    """A mapping as readable pairs, by the units that its names state; what was left empty is left out."""
    return [
        (Column(name, units.unit_of(name)).label, readable(name, item))
        for name, item in (value or {}).items()
        if item not in (None, "", [], {})
    ]


def readable(name: str, value: Any) -> str:
    """One value of such a mapping; JSON keeps moments as text."""
    if value in (None, "", [], {}):
        return units.UNKNOWN
    if isinstance(value, dict):
        named = [(Column(key, units.unit_of(key)).label.lower(), readable(key, value[key])) for key in value]
        return ", ".join(f"{label} {text}" for label, text in named)
    if isinstance(value, int | float) and not isinstance(value, bool):
        unit = units.unit_of(f"_{name}")  # seconds alone is a time, too
        return unit.text(value) if unit.numeric else units.count(value)
    moment = charts.moment_of(value) if isinstance(value, str) and name.endswith("_at") else None
    return units.moment(moment) if moment else units.label(value)
