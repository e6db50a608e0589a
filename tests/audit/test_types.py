"""Whatever its type, a value comes back by undo exactly as it was, and can be looked for."""

import pytest

from tests.carrying_out import carry_out, operation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

TYPES = """
create extension hstore;
create extension citext;
create schema gis;
create type gis.pair as (x int, y text);
create type gis.mood as enum ('sad', 'ok');
create domain gis.pairs as gis.pair[];
create domain gis.one as gis.pair check ((value).x > 0);
create domain gis.doubled as gis.one;
create type gis.span as range (subtype = text);
"""
VALUES = {
    "gis.pair": """'(1,"a ""b"",\\\\c")'""",
    "gis.pair[]": """array[(1, null), (2, 'x,y')]::gis.pair[]""",
    "gis.pairs": """array[(1, ''), null]::gis.pair[]""",
    "gis.one": "'(1,)'",
    "gis.doubled": "'(2,\"\")'",
    "gis.mood[]": "'{sad,null,ok}'",
    "gis.span": """'["a b","z)")'""",
    "int4range": "'empty'",
    "numrange": "'(,1.50]'",
    "tstzrange": "'[2026-01-01 00:00+01,infinity]'",
    "datemultirange": "'{[2020-01-01,2020-02-01),[2021-01-01,)}'",
    "xml": "'<a b=\"1\">é &amp; <!-- x --></a>'",
    "tsvector": "'''a b'':1A,2B c'",
    "tsquery": "'a & !b:*'",
    "pg_lsn": "'FF/1000000'",
    "money": "'-12.34'",
    "bit(9)": "'101010101'",
    "bit varying": "''",
    "cidr": "'10.0.0.0/8'",
    "inet": "'::1/64'",
    "char(5)": "'a  '",
    '"char"': "'\\\\377'",
    "name": "repeat('n', 63)",
    "oid": "4294967295",
    "regclass": "'pg_catalog.pg_class'",
    "regproc": "'pg_catalog.now'",
    "regtype": "'gis.pair'",
    "hstore": """'"a b"=>"1", c=>NULL'""",
    "citext": "'MiXed'",
    "jsonb": "'null'",
    "json": '\' {"a" : 1, "a":2}\'',
    "interval": "'1 mon -3 days 00:00:00.000001'",
    "float4": "'-0'",
    "float8": "'0.1'::float8 + 0.2",
    "numeric": "'1.5000'",
    "numeric(20,5)[]": "'[2:3]={1.5,NaN}'",
    "bytea": "'\\\\x00ff'",
    "point": "'(1e300,-0)'",
    "path": "'[(0,0),(1,1)]'",
    "timetz": "'12:00:00.5-08'",
    "timestamp": "'-infinity'",
    "date": "'4713-01-01 BC'",
    "uuid[]": "'{}'",
    "xid8": "'18446744073709551615'",
    "txid_snapshot": "'1:5:2,3'",
    "tid": "'(1,2)'",
    "jsonpath": "'$.a[*] ? (@ > 1)'",
    "macaddr8": "'08:00:2b:01:02:03:04:05'",
}


@pytest.mark.parametrize("most", [1000, 0])
def test_each_type_comes_back_as_it_was(audit, execute, target, server, monkeypatch, most):
    monkeypatch.setattr("audit.undo.MOST", most)
    execute(TYPES)
    columns = ", ".join(f"c{place} {kind}" for place, kind in enumerate(VALUES))
    execute(f"create table kept (id int primary key, {columns})")
    audit.watch("kept")
    execute(f"insert into kept select 1, {', '.join(VALUES.values())}")
    execute("insert into kept (id) values (2), (3)")
    names = [f"c{place}" for place in range(len(VALUES))]
    same = "select array_agg(t::text order by id) as rows from kept t"
    before = target.value(same)
    execute(f"update kept set {', '.join(f'{name} = null' for name in names)} where id = 1")
    values = ", ".join(f"{name} = {value}" for name, value in zip(names, VALUES.values(), strict=True))
    execute(f"update kept set {values} where id = 2")
    execute("delete from kept where id in (2, 3)")
    for number in sorted((one.id for one in audit.statements()[-3:]), reverse=True):
        run = carry_out(operation("undo_changes", server, statement=number))
        assert run.status == "succeeded", run.error
    assert target.value(same) == before
