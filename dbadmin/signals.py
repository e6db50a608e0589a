"""Sign-ins and their failures become events."""

from typing import Any

from allauth.account.signals import password_changed
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from dbadmin.events import record


@receiver(user_logged_in)
def signed_in(request: HttpRequest, user: Any, **_: Any) -> None:
    """Someone came in."""
    request.user = user
    record(request, "sign-in", "Signed in.")


@receiver(user_logged_out)
def signed_out(request: HttpRequest, user: Any, **_: Any) -> None:
    """Someone left."""
    if user is not None:
        record(user, "sign-out", "Signed out.")


@receiver(user_login_failed)
def failed(credentials: dict[str, Any], **_: Any) -> None:
    """Someone tried; the name may be anybody's, the password is never kept."""
    name = str(credentials.get("username", ""))[:150]
    record(None, "sign-in-failed", f"A sign-in as {name!r} failed.", name=name)


@receiver(password_changed)
def changed(request: HttpRequest, user: Any, **_: Any) -> None:
    """A new password."""
    record(request, "password", "Changed the password.")


__all__ = ["changed", "failed", "signed_in", "signed_out"]
