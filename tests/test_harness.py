"""The tests' own ground: the servers answer, people have their roles, the browser complains."""

import boto3
import pytest
import redis
from django.apps import apps

from dbadmin.models import Run
from dbadmin.permissions import may
from monitoring.models import AlertRule
from tests.fixtures.emptying import empty


@pytest.mark.servers
def test_the_target_is_an_empty_database_of_a_real_server(target):
    assert (
        target.value("select count(*) from pg_catalog.pg_class where relnamespace = 'public'::regnamespace")
        == 2
    )
    assert target.major >= 14


@pytest.mark.servers
def test_a_server_row_opens_sessions_in_both_roles(server):
    assert server.value("select current_user") == "dbadmin_operate"
    assert server.rows("select current_user as name", purpose="monitor")[0].name == "dbadmin_monitor"


def test_a_postgres_of_ones_own_can_be_stopped_and_started(new_postgres):
    own = new_postgres(wal_level="logical")
    own.stop()
    own.start()
    with own.connect() as connection:
        assert connection.execute("show wal_level").fetchone() == ("logical",)


def test_redis_answers_with_its_password(redis_url):
    assert redis.Redis.from_url(redis_url).ping()


def test_the_s3_server_keeps_objects(s3):
    client = boto3.client(
        "s3", endpoint_url=s3["endpoint"], aws_access_key_id=s3["key"], aws_secret_access_key=s3["secret"]
    )
    client.put_object(Bucket=s3["bucket"], Key="a", Body=b"kept")
    assert client.get_object(Bucket=s3["bucket"], Key="a")["Body"].read() == b"kept"


@pytest.mark.parametrize("role", ["viewer", "auditor", "operator", "admin"])
def test_people_have_one_role_each(user_as, role):
    assert may(user_as(role), "audit.view") is (role in {"auditor", "admin"})


@pytest.mark.django_db(transaction=True)
def test_what_a_test_commits_is_gone_after_it_and_what_every_installation_has_is_there(server):
    rules = list(AlertRule.objects.order_by("origin").values_list("origin", "warning", "enabled"))
    AlertRule.objects.update(enabled=False)
    Run.objects.create(server=server, server_name="shop", operation="trial", target="kept")
    empty(None)
    filled = [model.__name__ for model in apps.get_models() if model._meta.managed and model.objects.exists()]
    assert sorted(filled) == ["AlertRule", "ContentType", "Permission"]
    assert list(AlertRule.objects.order_by("origin").values_list("origin", "warning", "enabled")) == rules
