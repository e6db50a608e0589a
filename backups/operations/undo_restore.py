"""Take a restore back: the old database returns, the restored one is kept aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.urls import reverse

from backups import in_place, preflight, swap
from backups.forms import free_name
from backups.models import KeptDatabase, expiry
from backups.written_since import counters, sentences
from dbadmin.models import Run, Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.readiness import Check
from dbadmin.steps import Call, Step

if TYPE_CHECKING:
    from dbadmin.runner import Work


class KeptField(forms.TypedChoiceField):
    """One of the databases that restores put aside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(coerce=int, **kwargs)

    def offer(self, server: Server) -> None:
        found = KeptDatabase.present(server)
        self.choices = [(str(kept.pk), f"{kept.name} ({kept.origin})") for kept in found]


class UndoRestoreForm(forms.Form):
    """Which database comes back."""

    kept = KeptField(label="Database")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if server is not None:
            self.fields["kept"].offer(server)  # type: ignore[attr-defined]


def kept_database(server: Server, pk: Any) -> KeptDatabase:
    """The row, if its database is really there."""
    kept = KeptDatabase.present(server).filter(pk=pk).first()
    if kept is None:
        raise Refused("This database is not kept any more.", field="kept")
    if not server.value("select true from pg_catalog.pg_database where datname = %s", [kept.name]):
        raise Refused(f"{server} has no database {kept.name}: somebody dropped or renamed it.", field="kept")
    return kept


def other_name(kept: str) -> str:
    """`shop__before_…` -> `shop__undone_…`, and back, when the undo is undone: that name is free by then.

    What comes in the place of `shop__restore_…` becomes `shop__before_…`, as if its restore had done it.
    """
    old, new = next(pair for pair in _NAMES if pair[0] in kept)
    name, _, rest = kept.rpartition(old)
    return f"{name}{new}{rest}"


_NAMES = (("__before_", "__undone_"), ("__undone_", "__before_"), ("__restore_", "__before_"))


class UndoRestore(Operation):
    """Bring back the database that a restore put aside, by the same swap; or put in place what a restore could not."""

    title = "Undo a restore"
    risk = Risk.DESTROYS
    queue = "backups"
    Form = UndoRestoreForm

    def target(self) -> str:
        kept = KeptDatabase.objects.filter(pk=self.params["kept"]).first()
        return kept.original if kept else ""

    def waits(self) -> str:
        return f"Everyone in {self.target()} is disconnected once, and can connect again within a second."

    def plan(self) -> Sequence[Step]:
        kept = kept_database(self.server, self.params["kept"])
        if kept.is_new:
            kept.original = free_name(self.server, kept.original)
        aside, settling = other_name(kept.name), in_place.settle_texts(kept)
        there = self.server.row(
            "select datallowconn as open from pg_catalog.pg_database where datname = %s", [kept.original]
        )
        if there is None:
            says = f"{settling}-- Nobody has the name {kept.original} any more\n"
            return [
                Call(lambda work: _undo(work, kept, ""), says + swap.move_texts(kept.original, kept.name))
            ]
        preflight.check_swap(self.server, kept.original)
        swaps = "Swap" if kept.is_restored else "Swap back"
        says = f"{settling}-- {swaps}; what was written since the restore stays in {aside}\n"
        texts = swap.texts(kept.original, aside, kept.name, there.open)
        reverse = f"The operation “{self.title}”."
        return [Call(lambda work: _undo(work, kept, aside), says + texts, reverse=reverse)]

    def look(self) -> Sequence[Check]:
        kept = kept_database(self.server, self.params["kept"])
        if kept.is_new:
            return []
        title, since = f"Written to {kept.original} since", sentences([kept]).get(kept.pk) or ""
        if not since:
            return [Check("unknown", title, "Its counters were reset since, or cannot be read.")]
        if since == "nothing":
            return [Check("ok", title, "Nothing.")]
        return [Check("warning", title, f"{since.capitalize()}: they stay in what is put aside.")]

    def clean_up(self, work: Work) -> None:
        """A swap that is complete is written down; one that is not is opened again."""
        live = work.facts.get("live")
        if not live:
            return
        with work.connect(preflight.other_database(self.server, [live])) as connection:
            there = swap.oid(connection, live)
            kept = KeptDatabase.objects.filter(pk=work.facts.get("kept", 0)).first()
            if kept and there and there == work.facts.get("kept_oid"):
                kept.original, aside = live, work.facts["aside"]
                if kept.restored_at is None:
                    _note(work, kept, aside)  # which is empty where nothing was put aside
                was = f" What was in its place is kept as {aside}." if aside else ""
                work.stands(f"The swap was complete before this ended: {_is_back(kept)}.{was}")
            elif there:
                swap.allow(connection, live, work.facts.get("was_open", True))

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        back = KeptDatabase.present(self.server).filter(run=run).first()
        return ("undo_restore", {"kept": back.pk}) if back else ("", {})

    def result_url(self, run: Run) -> str:
        return reverse("backups", args=[self.server.name])


def _is_back(kept: KeptDatabase) -> str:
    what = "the restored database now" if kept.is_restored else "the old database again"
    return f"{kept.original} is {what}"


def _undo(work: Work, kept: KeptDatabase, aside: str) -> None:
    with (
        work.connect(preflight.other_database(work.server, [kept.original, kept.name])) as connection,
        swap.alone(connection, kept.original),
    ):
        there = swap.oid(connection, kept.original)
        if there and not aside:
            raise Refused(f"Somebody made a database {kept.original} meanwhile. Look at a new preview.")
        was_open, aside = swap.is_open(connection, kept.original), aside if there else ""
        work.remember(
            live=kept.original,
            aside=aside,
            kept=kept.pk,
            kept_oid=swap.oid(connection, kept.name),
            was_open=was_open,
        )
        if kept.is_restored:
            in_place.settle(work, connection, kept.name, kept.facts)
        if not there:
            swap.move_in(connection, kept.original, kept.name, work.stop_if_cancelled)
            _note(work, kept, "")
            in_place.told(work, f"{_is_back(kept)}; there was none in its place.")
            return
        gap, ended = swap.swap(connection, kept.original, aside, kept.name, work.stop_if_cancelled)
        standing = counters(connection, kept.original)
    _note(work, kept, aside, {"counters": standing})
    work.result(gap_seconds=round(gap, 3), sessions_ended=ended, aside=aside)
    in_place.told(
        work, f"{_is_back(kept)}; the {'old' if kept.is_restored else 'restored'} one is kept as {aside}."
    )


def _note(work: Work, kept: KeptDatabase, aside: str, facts: Mapping[str, Any] = {}) -> None:
    """It is back; and what came in its place, if something did, is kept now, for a day at least."""
    moment = max(kept.expires_at, expiry(24))
    if aside:
        KeptDatabase.present(work.server).get_or_create(
            server=work.server,
            name=aside,
            defaults={
                "original": kept.original, "run": work.run, "expires_at": moment, "facts": dict(facts)
            },
        )  # fmt: skip
    kept.restored_at = work.run.started_at or work.run.queued_at
    kept.save(update_fields=["restored_at"])
