"""The snippets that name the application's user, as the documentation has them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.servers

DOCUMENTED = Path(__file__).parents[2] / "docs" / "audit.md"
#: A site of one view, which writes twice in a transaction and once in another.
SITE = """
import sys, types
import django
from django.conf import settings
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path

{snippet}

def signed_in(get_response):
    def middleware(request):
        request.user = types.SimpleNamespace(is_authenticated="anna" in request.path, pk="anna")
        return get_response(request)
    return middleware

def view(request, name):
    from django.db import transaction
    with connection.cursor() as cursor:
        cursor.execute("insert into items values (1, %s)", [name])
        with transaction.atomic():
            cursor.execute("insert into items values (2, %s)", [name])
    return HttpResponse(name)

def twice(request, name):
    for number in (3, 4):
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute("insert into items values (%s, %s)", [number, name])
    return HttpResponse(name)

twice = transaction.non_atomic_requests(twice)
urlpatterns = [path("one/<name>", view), path("two/<name>", twice)]
settings.configure(
    ROOT_URLCONF="__main__", SECRET_KEY="x", ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["__main__.signed_in", "__main__.AuditUser"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.postgresql", "ATOMIC_REQUESTS": True, **{database}}}}},
)
django.setup()
from django.test import Client
for address in ("/one/anna", "/two/anna", "/one/nobody"):
    assert Client().get(address).status_code == 200
"""


def test_the_middleware_for_django_names_the_user_to_each_transaction(audit, execute, target):
    execute("create table items (id int, name text)")
    audit.watch("items")
    (snippet,) = re.findall(r"```python\n(# Django: .*?)```", DOCUMENTED.read_text(), re.DOTALL)
    info = target.connection.info
    database = {
        "HOST": info.host,
        "PORT": info.port,
        "USER": info.user,
        "NAME": info.dbname,
        "PASSWORD": info.password,
    }
    site = SITE.format(snippet=snippet, database=database)
    done = subprocess.run([sys.executable, "-c", site], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [(statement.app_user, statement.person) for statement in audit.statements()]
    assert found == [("anna", "anna")] * 4 + [(None, info.user)] * 2
