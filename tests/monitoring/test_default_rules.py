"""The rules that are there from the start: each condition is made on a real server, seen, explained, and ended."""

import datetime as dt
import os
import re
import signal

import pytest
import redis
from django.utils import timezone

from dbadmin.models import Server
from dbadmin.probes import PROBES
from devtools import commands
from monitoring.alert_models import Alert, AlertRule
from monitoring.evaluator import Judge
from monitoring.keeper import Keeper
from monitoring.rounds import Batch
from monitoring.writer import Writer
from tests.carrying_out import carry_out, operation
from tests.fixtures.servers import server_row
from tests.monitoring.test_epochs import Watcher, scratch_forget
from tests.monitoring.test_probe_partitions import day
from tests.monitoring.test_probe_replication import pair as pair
from tests.monitoring.test_probe_replication import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


class Observed:
    """A server whose rounds are stored and judged at once; time is moved on between them, nothing else is made up."""

    def __init__(self, row: Server, database: str = "") -> None:
        self.row, self.database = row, database
        self.watcher = Watcher(row)
        self.watcher.round.databases = [database] if database else []
        self.store, self.judge = Writer().store, Judge()
        self.moved = dt.timedelta(hours=-2)

    def take(self, *probes: str) -> Batch:
        """One round with these probes, at the moved time."""
        batch = Batch(self.row)
        places = [(self.database if PROBES[name].scope == "database" else "", name) for name in probes]
        self.watcher.round.read_all(self.watcher.round.open(), places, batch)
        for one in (*batch.readings, *batch.samples):
            one.taken_at += self.moved
        return batch

    def look(self, *probes: str, later: float = 0, length: float = 0) -> Batch:
        """A round so much later; its increases count as those of so many seconds."""
        self.moved += dt.timedelta(seconds=later)
        self.watcher.round.texts.next_at = 0.0
        batch = self.take(*probes)
        for sample in batch.samples:
            sample.length = length or sample.length
        self.store(batch)
        self.judge.look(batch)
        return batch


@pytest.fixture
def observed():
    """observed(server row): its rounds."""
    made: list[Observed] = []

    def start(row: Server, database: str = "") -> Observed:
        made.append(Observed(row, database))
        return made[-1]

    yield start
    for one in made:
        one.watcher.round.close()


@pytest.fixture
def page(client_as):
    """page("header:server_vitals"): what the page of the rule's open alert tells."""
    client = client_as("admin")

    def shown(origin: str) -> dict[str, object]:
        alert = Alert.objects.get(rule__origin=origin, resolved_at=None)
        answer = client.get(alert.get_absolute_url())
        told = answer.context
        assert alert.text in answer.content.decode().replace("&lt;", "<")
        return {
            "what": str(alert),
            "severity": alert.severity,
            "now": re.sub(r"[\d.]+(?= \S+, )", "N", alert.text, count=1),
            "limits": told["limit_text"],
            "do": told["rule"].advice,
            "operations": re.findall(r"/do/(\w+/\?[^\"]*)\"", "".join(map(str, told["actions"]))),
            "chart": bool(told["chart"] and told["chart"].lines),
        }

    return shown


@pytest.fixture
def end():
    """Why the rule's last alert ended, "" while it is open; a number of the message becomes N."""

    def because(origin: str) -> str:
        return re.sub(
            r"[\d.]+(?= \S+\.$)", "N", Alert.objects.filter(rule__origin=origin)[0].resolved_because
        )

    return because


def narrow(origin: str, server: Server, **limits: object) -> str:
    """The same rule for this server, with limits that take neither hours nor gigabytes to reach."""
    rule = AlertRule.objects.get(origin=origin)
    rule.pk, rule.server, rule.origin = None, server, f"test:{origin}"
    for name, value in limits.items():
        setattr(rule, name, value)
    rule.save()
    return rule.origin


def keep_as_usual(one: Observed, usual: Batch) -> None:
    """What was just done, as done in each hour of the last day and more."""
    keeper = Keeper()
    for hour in range(30, 1, -1):
        for sample in usual.samples:
            sample.taken_at, sample.length = timezone.now() - dt.timedelta(hours=hour), 3600.0
        keeper.keep(one.row, usual.samples, [], [])
    one.judge.baselines.forget()


def test_connections_near_the_limit(new_postgres, observed, page, end):
    postgres = new_postgres(max_connections="23")
    one = observed(server_row("shop", postgres))
    one.look("server_vitals")
    crowd = [postgres.connect() for _ in range(18)]
    one.look("server_vitals", later=60)
    one.look("server_vitals", later=60)
    assert not Alert.objects.exists(), "it must last for two minutes"
    one.look("server_vitals", later=60)
    assert page("header:server_vitals") == {
        "what": "Connections near the limit",
        "severity": "critical",
        "now": "N %, above 90 %",
        "limits": "warning above 80 %, critical above 90 %",
        "do": "See who holds the connections. Pool them, or raise max_connections.",
        "operations": [],
        "chart": True,
    }
    for each in crowd:
        each.close()
    until(lambda: len(postgres.admin.execute("select from pg_stat_activity").fetchall()) < 12)
    one.look("server_vitals", later=60)
    assert end("header:server_vitals") == "Back at N %."


def test_a_slow_statement(new_postgres, observed, page, end):
    postgres = new_postgres()
    one = observed(server_row("shop", postgres))
    one.look("statements")
    sleepers = [postgres.connect() for _ in range(5)]
    for each in sleepers:
        each.pgconn.send_query(b"select pg_sleep(1.05)")
    for each in sleepers:
        each.pgconn.get_result()
    one.look("statements", later=300, length=300)
    assert page("default:slow_statement") == {
        "what": "Slow statement: select pg_sleep($1)",
        "severity": "warning",
        "now": "N s, above 1 s",
        "limits": "warning above 1 s, critical above 10 s",
        "do": "Look at the statement's plan: is an index missing, did its table grow?",
        "operations": [],
        "chart": True,
    }
    for _ in range(10):
        postgres.admin.execute("select pg_sleep(0.01)")
    one.look("statements", later=400, length=300)
    assert end("default:slow_statement") == "Back at N ms."


def test_a_statement_slower_than_usual(new_postgres, observed, page, end):
    postgres = new_postgres()
    one = observed(server_row("shop", postgres))
    one.look("statements")
    for _ in range(20):
        postgres.admin.execute("select pg_sleep(0.005)")
    usual = one.take("statements")
    keep_as_usual(one, usual)
    for _ in range(20):
        postgres.admin.execute("select pg_sleep(0.08)")
    one.look("statements", later=600, length=600)
    found = page("default:slower_statement")
    assert re.fullmatch(r"N ms, above 4 × baseline of [\d.]+ ms", found.pop("now"))
    assert found == {
        "what": "Statement slower than usual: select pg_sleep($1)",
        "severity": "warning",
        "limits": "warning above 4 × baseline",
        "do": "See what changed: a plan, a deploy, a setting, the size of a table.",
        "operations": [],
        "chart": True,
    }
    for _ in range(20):
        postgres.admin.execute("select pg_sleep(0.001)")
    one.look("statements", later=700, length=600)
    assert end("default:slower_statement") == "Back at N ms."


def test_cache_hits_under_their_baseline(new_postgres, observed, page, end):
    postgres = new_postgres(shared_buffers="1MB", autovacuum="off", max_connections="20")
    question = "select blks_read, blks_hit from pg_stat_database where datname = 'postgres'"

    def counted():
        return postgres.admin.execute(question).fetchone()

    def scan(table, times):
        before = sum(counted())
        with postgres.connect() as connection:
            for _ in range(times):
                connection.execute(f"select count(*) from {table}")
        until(lambda: sum(counted()) > before + 55_000)

    postgres.admin.execute("create table small as select i, repeat('x', 900) from generate_series(1, 200) i")
    postgres.admin.execute(
        "create table large as select i, repeat('x', 900) from generate_series(1, 20000) i"
    )
    one = observed(server_row("shop", postgres))
    one.look("cache_hits")
    scan("small", 3000)
    usual = one.take("cache_hits")
    keep_as_usual(one, usual)
    scan("large", 30)
    one.look("cache_hits", later=900, length=900)
    found = page("default:cache_hit")
    assert re.fullmatch(r"N %, below 0.7 × baseline of 9\d(\.\d)? %", found.pop("now"))
    assert found == {
        "what": "Cache hit under its baseline: postgres",
        "severity": "critical",
        "limits": "warning below 0.9 × baseline, critical below 0.7 × baseline",
        "do": "See which statements read most: a new sequential scan is the usual cause.",
        "operations": [],
        "chart": True,
    }
    scan("small", 4000)
    one.look("cache_hits", later=1000, length=900)
    assert end("default:cache_hit") == "Back at N %."


def test_a_stale_view_and_the_operation_that_refreshes_it(new_postgres, observed, page, end):
    postgres = new_postgres(track_commit_timestamp="on")
    with postgres.connect() as connection:
        connection.execute("create materialized view sales as select 1 as id")
    row = server_row("shop", postgres)
    rule = AlertRule.objects.get(origin="header:materialized_views")
    assert (rule.warning, rule.tells) == (4 * 3600, True)
    one = observed(row, "postgres")
    mine = narrow("header:materialized_views", row, warning=1.0, clear=0.9)
    postgres.admin.execute("select pg_sleep(1.2)")
    one.look("materialized_views")
    one.look("materialized_views", later=180)
    assert page(mine) == {
        "what": "Materialized view is stale: public.sales",
        "severity": "warning",
        "now": "N s, above 1 s",
        "limits": "warning above 1 s",
        "do": "Refresh the view, and give it a schedule.",
        "operations": ["refresh_view/?schema=public&amp;view=sales&amp;database=postgres"],
        "chart": True,
    }
    postgres.admin.execute("refresh materialized view sales")
    one.look("materialized_views", later=60)
    assert end(mine) == "Back at N ms."


def test_a_partition_that_is_missing(new_postgres, observed, page, end):
    postgres = new_postgres()
    postgres.admin.execute("create table events (at date) partition by range (at)")

    def add(name, first, last):
        bounds = f"from ('{day(first)}') to ('{day(last)}')"
        postgres.admin.execute(f"create table {name} partition of events for values {bounds}")

    add("now", -10, 18)
    row = server_row("shop", postgres)
    one = observed(row, "postgres")
    one.look("partitioned_tables")
    found = page("header:partitioned_tables")
    assert re.fullmatch(r"17 d( \d+ h)?, below 28 d", Alert.objects.get().text)
    del found["now"]
    asked = "schema=public&amp;table=events&amp;ahead=1&amp;database=postgres"
    assert found == {
        "what": "Partition missing: public.events",
        "severity": "warning",
        "limits": "warning below 28 d, critical below 4 d",
        "do": "Create the next partitions now: later rows have no place, or go to the default partition.",
        "operations": [f"create_partitions/?{asked}"],
        "chart": True,
    }
    mended = operation("create_partitions", row, table="events", ahead=1, database="postgres")
    assert carry_out(mended).status == "succeeded"
    one.look("partitioned_tables", later=900)
    assert re.fullmatch(r"Back at 45 d( \d+ h)?\.", Alert.objects.get().resolved_because)


def test_a_partition_that_grows_unusually(new_postgres, observed, page, end):
    postgres = new_postgres(autovacuum="off")
    execute = postgres.admin.execute
    execute("create table events (at date, body text) partition by range (at)")
    for week in range(-4, 2):
        bounds = f"from ('{day(7 * week - 1)}') to ('{day(7 * week + 6)}')"
        execute(f"create table week_{week + 4} partition of events for values {bounds}")
    fill = "insert into events select '{0}', repeat('x', 2000) from generate_series(1, {1}) i"
    one = observed(server_row("shop", postgres), "postgres")
    for week in range(-4, 0):
        execute(fill.format(day(7 * week), 4500))
    execute(fill.format(day(0), 8000))
    execute("vacuum analyze events")
    one.look("partitioned_tables")
    assert not Alert.objects.filter(rule__origin="default:outgrown_partition").exists()
    execute(fill.format(day(0), 3000))
    execute("vacuum analyze events")
    one.look("partitioned_tables", later=900)
    assert page("default:outgrown_partition") == {
        "what": "Partition grows unusually: public.events",
        "severity": "warning",
        "now": "N %, above 200 %",
        "limits": "warning above 200 %, critical above 500 %",
        "do": "See what writes so much: a retry that never ends, a debug log left on. Is there room until its end?",
        "operations": [],
        "chart": True,
    }
    execute("truncate week_4")
    one.look("partitioned_tables", later=900)
    assert end("default:outgrown_partition") == "Back at N %."


def test_redis_hits_under_seventy_percent(server, redis_url, observed, page, end):
    server.seal_dsn("redis_url", redis_url)
    server.save()
    one = observed(server)
    client = redis.Redis.from_url(redis_url)
    one.look("redis_cache")
    client.set("there", "1", ex=60)
    for number in range(600):
        client.get(f"absent-{number}")
    for _ in range(100):
        client.get("there")
    one.look("redis_cache", later=900, length=900)
    assert page("default:redis_hits") == {
        "what": "Redis hit rate is low",
        "severity": "warning",
        "now": "N %, below 70 %",
        "limits": "warning below 70 %",
        "do": "See whether keys are evicted for want of memory, or expire too early.",
        "operations": [],
        "chart": True,
    }
    for _ in range(9000):
        client.get("there")
    one.look("redis_cache", later=1000, length=900)
    assert end("default:redis_hits") == "Back at N %."


def test_checkpoints_of_the_last_hour_that_came_before_their_time(server, postgres, observed, page):
    one = observed(server)
    one.look("checkpoints")
    for _ in range(6):
        postgres.admin.execute("checkpoint")
    one.look("checkpoints", later=3600, length=3600)
    assert page("default:forced_checkpoints") == {
        "what": "Checkpoints forced by volume",
        "severity": "warning",
        "now": "N %, above 50 %",
        "limits": "warning above 50 %",
        "do": "Raise max_wal_size, so that checkpoints come by time and not by volume.",
        "operations": [],
        "chart": True,
    }


def test_a_slot_that_nobody_reads(new_postgres, observed, page, end):
    postgres = new_postgres()
    postgres.admin.execute("select pg_create_physical_replication_slot('reader', true)")
    row = server_row("shop", postgres)
    rule = AlertRule.objects.get(origin="header:replication_slots")
    assert (rule.warning, rule.critical) == (2**30, 10 * 2**30)
    mine = narrow("header:replication_slots", row, warning=32.0 * 2**20, critical=None, clear=30.0 * 2**20)
    one = observed(row)
    one.look("replication_slots")
    for _ in range(3):
        postgres.admin.execute("select pg_logical_emit_message(true, 'a', 'b')")
        postgres.admin.execute("select pg_switch_wal()")
    one.look("replication_slots", later=60)
    one.look("replication_slots", later=300)
    assert page(mine) == {
        "what": "Replication slot keeps WAL: reader",
        "severity": "warning",
        "now": "N MiB, above 32 MiB",
        "limits": "warning above 32 MiB",
        "do": "Start the reader of the slot again, or drop a slot that nobody reads.",
        "operations": [],
        "chart": True,
    }
    postgres.admin.execute("select pg_drop_replication_slot('reader')")
    one.look("replication_slots", later=60)
    assert end(mine) == "It is no longer there."


def test_a_standby_that_is_cut_off_and_one_that_falls_behind(pair, db, observed, page, end):
    primary, standby = pair
    row = server_row("replica", standby)
    mine = narrow("header:replication_lag:lag_seconds", row, warning=1.0, clear=0.9)
    one = observed(row)
    with primary.connect() as leader:
        leader.execute("create table first as select 1 as id")
    until(lambda: one.take("replication_lag").readings[0].rows[0].replayed_at)
    one.look("replication_lag")
    with standby.connect() as follower, primary.connect() as leader:
        follower.execute("select pg_wal_replay_pause()")
        leader.execute("create table more as select 1 as id")
        follower.execute("select pg_sleep(2)")
        one.look("replication_lag", later=60)
        one.look("replication_lag", later=120)
        assert page(mine) == {
            "what": "Replication lag",
            "severity": "warning",
            "now": "N s, above 1 s",
            "limits": "warning above 1 s",
            "do": "See what the standby does: a long query, a lock, a slow disk or network.",
            "operations": [],
            "chart": True,
        }
        follower.execute("select pg_wal_replay_resume()")
    until(lambda: one.take("replication_lag").readings[0].rows[0].state == "following")
    one.look("replication_lag", later=60)
    assert end(mine) == "Back at N s."
    primary.stop()
    until(lambda: one.take("replication_lag").readings[0].rows[0].cut_off_count)
    one.look("replication_lag", later=60)
    one.look("replication_lag", later=120)
    found = page("header:replication_lag")
    assert (found["what"], found["severity"], found["now"]) == ("Standby is cut off", "critical", "cut off")
    assert found["limits"] == "critical at any"
    primary.start()
    until(lambda: not one.take("replication_lag").readings[0].rows[0].cut_off_count)
    one.look("replication_lag", later=60)
    assert end("header:replication_lag") == "It is well again."


def age(postgres, transactions):
    """Let it have done so many transactions: its counter is set forward while it is down."""
    os.kill(postgres.pid, signal.SIGINT)
    postgres.running.process.wait()
    scratch_forget(postgres)
    cluster = postgres.cluster
    program = cluster.programs.pg_bin / "pg_resetwal"
    if not program.exists():
        pytest.skip(f"PostgreSQL {postgres.major} comes without pg_resetwal here")
    argv = [str(program), "-x", str(transactions), "-D", str(cluster.data)]
    commands.run(argv, log=cluster.log, says="The counter stayed.", account=cluster.account, cwd=cluster.data)
    states = cluster.data / "pg_xact" / f"{transactions // 2**20:04X}"
    cluster.write(states, "\0" * 2**18)
    postgres.start()


def test_transaction_numbers_that_run_out(new_postgres, observed, page, end):
    postgres = new_postgres(autovacuum="off", autovacuum_freeze_max_age="2000000000")
    age(postgres, 1_000_000_000)
    one = observed(server_row("shop", postgres))
    one.look("wraparound")
    names = {"postgres", "template0", "template1"}
    found = Alert.objects.filter(rule__origin="header:wraparound")
    assert {(alert.row_name, alert.severity) for alert in found} == {(name, "warning") for name in names}
    found.exclude(row_name="postgres").update(resolved_at=timezone.now())
    assert page("header:wraparound") == {
        "what": "Transaction numbers run out: postgres",
        "severity": "warning",
        "now": "N %, above 40 %",
        "limits": "warning above 40 %, critical above 75 %",
        "do": "Vacuum the oldest tables of the database; end what holds the horizon back.",
        "operations": [],
        "chart": True,
    }
    postgres.admin.execute("vacuum freeze")
    one.look("wraparound", later=300)
    assert found.get(row_name="postgres").resolved_because.startswith("Back at ")


def test_each_rule_has_a_name_of_its_own():
    """One is silenced, switched off and read by its name."""
    names = list(AlertRule.objects.values_list("name", flat=True))
    assert sorted(names) == sorted(set(names))
