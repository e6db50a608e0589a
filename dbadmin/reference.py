"""The references of probes and operations, made from the registries so that they cannot be out of date."""

from collections.abc import Iterator

from django import forms

from dbadmin.operations import REGISTRY, Operation, Risk
from dbadmin.probes import PROBES, Probe
from dbadmin.units import duration

HEAD = """# Probes

A probe is a question to a server, kept as a file; its answer feeds the page, history, alerts and exports alike.
This page is made from the headers of the files: `manage.py probe --docs --skip-checks > docs/probes.md`.

| probe | answers | read each | needs |
| --- | --- | --- | --- |
"""


RISKS = {
    Risk.HARMLESS: "harmless: starts on the click",
    Risk.LOADS: "loads the server: after the preview",
    Risk.BLOCKS: "blocks others: after a ticked box that says who will wait",
    Risk.DESTROYS: "takes something away: after the target's name is typed",
}


def probes_page() -> str:
    """The whole page: a table of all, then each with its columns."""
    apps: dict[str, list[Probe]] = {}
    for probe in sorted(PROBES.values(), key=lambda probe: probe.name):
        apps.setdefault(probe.app, []).append(probe)
    rows = [line_of(probe) for app in sorted(apps) for probe in apps[app]]
    parts = [f"## {app}\n\n" + "\n".join(section_of(probe) for probe in apps[app]) for app in sorted(apps)]
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(parts)


def line_of(probe: Probe) -> str:
    """Its row in the table at the top."""
    return f"| [{probe.name}](#{probe.name}) | {probe.title} | {cadence(probe)} | {probe.needs or '–'} |"


def cadence(probe: Probe) -> str:
    """How often it is read by itself."""
    return duration(probe.every) if probe.every else "only when asked"


def section_of(probe: Probe) -> str:
    """What it says, where, how often, and what its columns mean."""
    notes = "".join(f"- `{name}`: {note}\n" for name, note in probe.notes.items())
    facts = " ".join(f"{sentence}." for sentence in facts_of(probe))
    return f"### {probe.name}\n\n{probe.about} {facts}\n" + (f"\n{notes}" if notes else "")


def facts_of(probe: Probe) -> Iterator[str]:
    """Short sentences on where and when it answers, and when it warns."""
    place = "in each database" if probe.scope == "database" else "once for the server"
    yield f"Asked {place}" + (f", on a {probe.on} only" if probe.on else "")
    if probe.source != "postgres":
        yield f"Answered by {'PgBouncer' if probe.source == 'pgbouncer' else probe.source}"
    if probe.key:
        yield "A row is known by " + ", ".join(f"`{name}`" for name in probe.key)
    if probe.params:
        yield "It is told " + " and ".join(f"`{name}`" for name in probe.params)
    if probe.warning:
        yield f"Warns when `{probe.warning}`"
    if probe.critical:
        yield f"Critical when `{probe.critical}`"
    if probe.judged:
        yield f"Of a replica its {probe.judged} is judged"
    if probe.actions:
        yield "Its rows offer " + ", ".join(f"`{action.operation}`" for action in probe.actions)


def operations_page() -> str:
    """docs/operations.md."""
    parts = [
        "# Operations",
        "",
        "Written by `manage.py reference`; do not edit. Each can be started by its page, by `manage.py operate`,",
        "by the API and by a schedule; each is previewed, recorded, and cancelled where it takes time.",
    ]
    for app in sorted({operation.app for operation in REGISTRY.values()}):
        parts += ["", f"## {app}"]
        for name, operation in sorted(REGISTRY.items()):
            if operation.app == app:
                parts += ["", *operation_lines(name, operation)]
    return "\n".join(parts) + "\n"


def operation_lines(name: str, operation: type[Operation]) -> list[str]:
    """One operation."""
    gentler = operation.least_risk
    risk = RISKS[operation.risk] + (f"; at its gentlest {RISKS[gentler]}" if gentler else "")
    lines = [f"### {name}", "", f"**{operation.title}.** {operation.about()}", "", f"Risk: {risk}.", ""]
    form = operation.Form
    fields: dict[str, forms.Field] = getattr(form, "base_fields", {})
    for key, field in fields.items():
        need = "" if field.required else " (optional)"
        lines.append(f"- `{key}`{need}: {str(field.help_text or field.label or key).rstrip('.')}")
    return lines if lines[-1] else lines[:-1]
