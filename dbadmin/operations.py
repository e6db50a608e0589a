"""An Operation changes a server: a form, a plan that is previewed, and a Run that remembers how the plan ended."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms

from dbadmin.steps import Step

if TYPE_CHECKING:
    from dbadmin.models import Run, Server
    from dbadmin.readiness import Check
    from dbadmin.runner import Work


class Risk(Enum):
    """How we ask before we act."""

    HARMLESS = "harmless"  # starts on the click
    LOADS = "loads"  # after the preview
    BLOCKS = "blocks"  # after a ticked box that says who will wait
    DESTROYS = "destroys"  # after the target's name is typed

    @property
    def needs_reauthentication(self) -> bool:
        """A fresh proof of who sits there."""
        return self in {Risk.BLOCKS, Risk.DESTROYS}


class Refused(Exception):
    """We will not do it; the message says why and names the way round. field: where on the form it belongs."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NoParameters(forms.Form):
    """For operations that need none."""


class Operation:
    """One change of a server. Subclasses give a form and a plan; most need no more."""

    do_not_call_in_templates: ClassVar[bool] = True  # a template reads the class, it does not make one
    name: ClassVar[str]
    app: ClassVar[str]
    title: ClassVar[str]
    risk: ClassVar[Risk] = Risk.BLOCKS  # the heaviest
    least_risk: ClassVar[Risk | None] = None  # with the gentlest parameters, where that differs
    #: Though its risk is small: it changes what others may do or how much is kept, or brings old data back.
    for_admins: ClassVar[bool] = False
    for_auditors: ClassVar[bool] = False  # too: it proves, and changes nothing
    reads: ClassVar[str] = (
        ""  # the right to see its plan and its log, where they hold what not everybody may read
    )
    only_ours: ClassVar[bool] = (
        False  # it changes what dbadmin keeps: no recovery of the server brings that back
    )
    changes_nothing: ClassVar[bool] = False  # it proves or compares: there is nothing to take back
    queue: ClassVar[str] = "operations"
    Form: ClassVar[type[forms.Form]] = NoParameters

    def __init__(self, server: Server, params: Mapping[str, Any]) -> None:
        self.server, self.params = server, params
        self.checks: Sequence[Check] = ()  # what plan() looked at, also when it refuses
        self.done = "Finished."  # what the run ends with unless a step says more; plan() may know better

    @classmethod
    def about(cls) -> str:
        """The first paragraph of the docstring."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")

    @classmethod
    def permission(cls) -> str:
        """Its right: "<app>.<name>"."""
        return f"{cls.app}.{cls.name}"

    @classmethod
    def form(cls, server: Server, data: Any = None, **kwargs: Any) -> forms.Form:
        """The form, told of its server when it asks for it (choices of databases, stores …)."""
        if "server" in inspect.signature(cls.Form.__init__).parameters:
            kwargs["server"] = server
        return cls.Form(data, **kwargs)

    def target(self) -> str:
        """What is changed: locked against a second run, and typed by the person for DESTROYS."""
        return str(self.server)

    def required(self) -> str:
        """The right that this very change needs."""
        return self.permission()

    def also_required(self) -> list[tuple[str, Server | None]]:
        """Rights on other servers, where the change reaches beyond its own."""
        return []

    def risk_now(self) -> Risk:
        """The risk with these parameters; a gentler way of the same operation may lower it."""
        return self.risk

    @classmethod
    def destroys(cls, params: Mapping[str, Any]) -> bool:
        """Is a button with these parameters drawn in the red of what destroys? Asks no server."""
        return cls.risk is Risk.DESTROYS

    def takes_back(self, steps: Sequence[Step]) -> bool:
        """Will the run's page offer to take it back?"""
        return type(self).undo is not Operation.undo or all(step.reverse for step in steps)

    def asks_second(self) -> bool:
        """Must a second person agree? What destroys, on a server that asks for two."""
        return self.server.asks_two and self.risk_now() is Risk.DESTROYS

    def waits(self) -> str:
        """Who will wait, for BLOCKS."""
        return ""

    def plan(self) -> Sequence[Step]:
        """The steps; raises Refused when it cannot or should not be done. Same server, same texts."""
        raise AssertionError(f"{type(self).__name__} has no plan")

    def look(self) -> Sequence[Check]:
        """What else a preview tells: measured for whoever reads it, and no part of what is agreed to."""
        return ()

    def clean_up(self, work: Work) -> None:
        """Remove what a failed, cancelled or lost run left. Idempotent; works from work.facts."""

    def undo(self, run: Run) -> tuple[str, dict[str, Any]] | None:
        """The operation and parameters that take a run back; None: its stored reverses do; ("", {}): nothing does."""
        return None

    def result_url(self, run: Run) -> str:
        """Where the outcome is looked at; "" when the run's page says it all."""
        return ""


#: Fields that hold a name of PostgreSQL's, which may begin or end with a blank.
NAMES = {"database", "schema", "table", "view", "index", "constraint", "name"}
REGISTRY: dict[str, type[Operation]] = {}


def load(app: str, folder: Path) -> None:
    """Register the operations of an app's folder: drop_index.py holds the class DropIndex."""
    for path in sorted(folder.glob("*.py")):
        if path.stem == "__init__":
            continue
        module = importlib.import_module(f"{app}.operations.{path.stem}")
        operation = getattr(module, "".join(part.capitalize() for part in path.stem.split("_")))
        operation.name, operation.app = path.stem, app
        known = REGISTRY.get(path.stem)
        if known and known.app != app:
            raise ValueError(f"{path}: {known.app} already has an operation of this name")
        REGISTRY[path.stem] = operation
        for field in NAMES & operation.Form.base_fields.keys():
            if isinstance(found := operation.Form.base_fields[field], forms.CharField):
                found.strip = False


def plan_texts(steps: Sequence[Step]) -> list[str]:
    """What is shown, stored and compared."""
    return [str(step) for step in steps]


def plan_reverses(steps: Sequence[Step]) -> list[str]:
    """What would take each step back; "" where nothing does."""
    return [step.reverse for step in steps]


def oneline(text: str) -> str:
    """White space folded, for headings."""
    return re.sub(r"\s+", " ", text).strip()
