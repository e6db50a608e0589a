"""manage.py check: keys and settings without which dbadmin would lose or show something it should not."""

import shutil
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from dbadmin import secrets


@checks.register()
def keys_are_there(**_: Any) -> list[checks.CheckMessage]:
    """Without a sealing key no DSN can be kept."""
    try:
        secrets.keys()
    except (ImproperlyConfigured, ValueError) as error:
        return [
            checks.Error(
                str(error), hint="DBADMIN_KEYS='2026=<base64 of 32 random bytes>'", id="dbadmin.E001"
            )
        ]
    return []


@checks.register()
def cache_is_the_database(**_: Any) -> list[checks.CheckMessage]:
    """Sign-in must work while Redis is away."""
    if "db.DatabaseCache" in settings.CACHES["default"]["BACKEND"]:
        return []
    return [
        checks.Error(
            "CACHES['default'] must be the database cache: sign-in depends on it.", id="dbadmin.E002"
        )
    ]


@checks.register(deploy=True)
def client_programs(**_: Any) -> list[checks.CheckMessage]:
    """Backups need the client programs of PostgreSQL."""
    missing = [name for name in ("pg_dump", "pg_restore", "pg_dumpall") if not shutil.which(name)]
    if not missing:
        return []
    return [
        checks.Warning(
            f"Not on this machine: {', '.join(missing)}.", hint="Install them on workers.", id="dbadmin.W001"
        )
    ]
