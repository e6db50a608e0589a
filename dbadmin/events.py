"""What people do in dbadmin itself is recorded: signing in, looking at audit data, exporting, changing rights."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest

from dbadmin.models import Event, Server


def record(
    who: HttpRequest | AbstractBaseUser | AnonymousUser | None,
    kind: str,
    text: str,
    server: Server | None = None,
    **facts: Any,
) -> Event:
    """Write one event.

    who: a request (then the client's address is kept too), a person, or None for the system itself;
    kind: such as "sign-in", "audit.view", "export", "grant"; text: one sentence; facts: JSON-able details.
    """
    user: Any = getattr(who, "user", who)
    address = who.META.get("REMOTE_ADDR") if isinstance(who, HttpRequest) else None
    known = user is not None and getattr(user, "is_authenticated", False)
    return Event.objects.create(
        user=user if known else None,
        user_name=user.get_username() if known and user is not None else "",
        address=address or None,
        kind=kind,
        server=server,
        text=text,
        facts=facts,
    )
