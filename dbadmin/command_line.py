"""Operations and their parameters as words of a command line, and the consent that their risk asks for."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.http import QueryDict

from dbadmin.models import Server
from dbadmin.operations import REGISTRY, Operation, Refused, Risk
from dbadmin.shapes import misshapen


def find_server(name: str) -> Server:
    """The server of this name."""
    server = Server.objects.filter(name=name).first()
    if server is None:
        known = ", ".join(Server.objects.values_list("name", flat=True)) or "none yet"
        raise Refused(f"There is no server {name}. Known: {known}.")
    return server


def find_user(name: str) -> Any:
    """The person of this name; None for none, who is the user of this machine."""
    if not name:
        return None
    users = get_user_model().objects
    user = users.filter(username=name).first()
    if user is None:
        raise Refused(f"There is no user {name}.")
    return user


def find_operation(name: str, server: Server, words: list[str]) -> Operation:
    """The operation with the parameters of "key=value" words, cleaned by its form; raises Refused."""
    found = REGISTRY.get(name)
    if found is None:
        raise Refused(f"There is no operation {name}. Known: {', '.join(sorted(REGISTRY)) or 'none'}.")
    data = QueryDict(mutable=True)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise Refused(f"{word!r} is not key=value.")
        data.appendlist(key, value)
    form = found.form(server, initial=data.dict())
    unknown = [key for key in data if key not in form.fields]
    if unknown:
        raise Refused(
            f"{name} has no parameter {', '.join(unknown)}. It has: {', '.join(form.fields) or 'none'}."
        )
    for key, field in form.fields.items():
        if key not in data and field.initial not in {None, ""}:
            data[key] = field.initial() if callable(field.initial) else str(field.initial)
    bound = found.form(server, data)
    for key, field in form.fields.items():
        if problem := misshapen(data.get(key), field):
            bound.add_error(key, problem)
    if not bound.is_valid():
        raise Refused(" ".join(f"{field}: {text}" for field, texts in bound.errors.items() for text in texts))
    return found(server, bound.cleaned_data)


def require_consent(operation: Operation, typed: str) -> None:
    """BLOCKS and DESTROYS want the target's name typed; raises Refused."""
    risk = operation.risk_now()
    if risk not in {Risk.BLOCKS, Risk.DESTROYS} or typed == operation.target():
        return
    why = operation.waits() if risk is Risk.BLOCKS else "It cannot be taken back without a backup."
    raise Refused(f"Not started. {why} To agree, add: --yes-i-typed {operation.target()}".replace("  ", " "))
