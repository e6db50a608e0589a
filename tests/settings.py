"""The product's settings with a control database, a Redis and secrets that live as long as this test run."""

import base64
import os
import secrets
from pathlib import Path

from tests.running import control

os.environ.update(
    DATABASE_URL=control()["database_url"],
    REDIS_URL=control()["redis_url"],
    SECRET_KEY=secrets.token_urlsafe(32),
    DBADMIN_KEYS="test=" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    DBADMIN_STATE=str(
        Path(control()["directory"]) / f"state-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    ),
    DBADMIN_DEMO="1",  # plain HTTP on loopback, as in the demo
    DJANGO_ALLOW_ASYNC_UNSAFE="true",  # Playwright's loop runs in the tests' own thread
)
os.environ["STATIC_ROOT"] = os.environ["DBADMIN_STATE"] + "/static"
Path(os.environ["STATIC_ROOT"]).mkdir(parents=True, exist_ok=True)

from dbadmin.settings import *  # noqa: E402, F403

# Signing in is not what most tests are about.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
