"""A plan as people are told it: the steps, or the sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from dbadmin.failures import Told, sentence
from dbadmin.operations import Operation, Refused, plan_reverses, plan_texts
from dbadmin.steps import Step


@dataclass(frozen=True)
class Plan:
    """What an operation would do now. field: where on its form the refusal belongs."""

    steps: Sequence[Step] = ()
    refusal: str = ""
    field: str = ""
    server_failed: bool = False

    @property
    def texts(self) -> list[str]:
        """What is shown, stored and compared."""
        return plan_texts(self.steps)

    @property
    def agreed(self) -> list[str]:
        """What a person agrees to: the steps, and the way back that was promised."""
        return [*self.texts, *(f"undone by {each}" for each in plan_reverses(self.steps) if each)]


def plan_of(operation: Operation) -> Plan:
    """Let it plan; a server or a store that does not answer is a refusal in words."""
    try:
        return Plan(list(operation.plan()))
    except Refused as reason:
        return Plan(refusal=str(reason), field=reason.field)
    except Told as reason:
        return Plan(refusal=str(reason))
    except psycopg.Error as error:
        wanted = operation.params.get("database")
        if wanted and f'database "{wanted}" does not exist' in str(error):
            return Plan(refusal=f"There is no database {wanted} on {operation.server}.", field="database")
        return Plan(refusal=sentence(error, operation.server), server_failed=True)


def steps_of(operation: Operation) -> Sequence[Step]:
    """The steps; raises Refused with the sentence."""
    plan = plan_of(operation)
    if plan.refusal:
        raise Refused(plan.refusal, plan.field)
    return plan.steps
