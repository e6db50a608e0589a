"""Tables are found where SQL names them, and columns, functions, CTEs and aliases are none."""

import pytest

from monitoring.named_tables import names

ORDERS = {("", "orders")}
LINES = {("", "lines")}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select id, state from orders where state = $1 order by id, state", ORDERS),
        ('SELECT * FROM "shop"."Orders" o', {("shop", "Orders")}),
        ('select * from shop."or""ders", lines', {("shop", 'or"ders'), ("", "lines")}),
        ("select * from shop.orders o join lines l on f(o.a, l.b), parts", {("shop", "orders"), *LINES, ("", "parts")}),
        ("insert into orders (id, a) values ($1, $2) on conflict (id) do update set a = excluded.a", ORDERS),
        ("update only orders set a = $1, b = $2 from lines where true", ORDERS | LINES),
        ("delete from orders using lines, parts where true", {*ORDERS, *LINES, ("", "parts")}),
        ("with recent as materialized (select * from orders) select * from recent, recent r", ORDERS),
        ("with recursive t (n) as (select $1 union all select n + $2 from t) select n from t", set()),
        ("with orders as (select $1) select * from orders, shop.orders", {("shop", "orders")}),
        ("select extract(epoch from orders), substring(a from b) from lines", LINES),
        ("select a is distinct from b, orders from lines", LINES),
        ("select * from generate_series($1, $2) orders", set()),
        ("select * from (select * from orders for update) x, lateral (select $1) y", ORDERS),
        ("select exists (select from orders where a in ($1, $2))", ORDERS),
        ("select $1 -- from orders\n, 'from lines'", set()),
        ("truncate table orders, only lines restart identity", ORDERS | LINES),
        ("alter table only orders add column a int, add column b int references lines (id)", ORDERS | LINES),
        ("create index on orders using btree (a)", set()),
        ("copy orders (id, state) to stdout", ORDERS),
        ("vacuum (analyze) orders", ORDERS),
        ("vacuum analyze orders", ORDERS),
        ("explain analyze select * from orders", ORDERS),
        ("refresh materialized view concurrently orders", ORDERS),
        ("merge into orders using lines on true when matched then do nothing", ORDERS | LINES),
        ("select * from db.shop.orders", {("shop", "orders")}),
        ("select from where, from", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_names_what_the_text_names(text, found):
    assert names(text) == found
