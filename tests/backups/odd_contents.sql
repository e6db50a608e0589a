-- What real databases have and few tests think of. One of each, with what depends on it.
create schema "Odd";
create schema authorization :owner;

-- Domains, with a constraint that not all rows keep; types in types; ranges; casts; transforms of meaning
create domain short as text collate "C" default 'none' constraint brief check (length(value) < 20) not null;
create domain loose as int;
create table of_domains (n loose, s short);
insert into of_domains values (-1, 'a'), (2, 'b');
alter domain loose add constraint positive check (value > 0) not valid;
comment on constraint positive on domain loose is 'for new ones';
create domain of_domain as loose check (value <> 7);
create type "Odd"."Colour" as enum ('red', 'gr''een', 'blue "deep"');
alter type "Odd"."Colour" add value 'yellow' before 'red';

create type shape as (colour "Odd"."Colour", corners int[], inner_domain short);
comment on column shape.corners is 'in order';
create type floats as range (subtype = float8, subtype_diff = float8mi, multirange_type_name = many_floats);
create type plain;
create function plain_in(cstring) returns plain language internal immutable strict as 'int4in';
create function plain_out(plain) returns cstring language internal immutable strict as 'int4out';
create type plain (input = plain_in, output = plain_out, internallength = 4, passedbyvalue, alignment = int4,
    category = 'N', default = '7', delimiter = ':');
create cast (plain as int) without function as assignment;
create cast (int as plain) without function;
create function colour_of(int) returns "Odd"."Colour" language sql immutable strict
    begin atomic select (enum_range(null::"Odd"."Colour"))[$1]; end;
create cast (int as "Odd"."Colour") with function colour_of(int) as assignment;
create table of_types (p plain, c "Odd"."Colour", s shape, many shape[], f floats, mf many_floats, o of_domain);
insert into of_types values ('5', 'blue "deep"', row('red', '{1,2}', 'in'), array[row('yellow', '{}', 'x')]::shape[],
    '[1.5,2)', '{[1,2),[3,4)}', 3);
grant usage on type shape to :reader;
revoke usage on domain short from public;

-- Functions with bodies that depend, procedures, aggregates of all kinds, support for planners, and a window function
create table counted (id int primary key, parent int, amount numeric(10,2) default 1.00);
insert into counted select n, nullif(n / 2, 0), n from generate_series(1, 50) n;
create function total(only_parent int default null, variadic rest int[] default '{}') returns numeric
    language sql stable parallel safe cost 7 set search_path = public, pg_temp
    begin atomic select sum(amount) from counted where parent is not distinct from only_parent or id = any(rest); end;
create function rows_of(p int) returns table (id int, double numeric) language sql stable rows 3
    begin atomic select c.id, c.amount * 2 from counted c where c.parent = rows_of.p; end;
create procedure pay(inout what numeric, factor numeric default 2) language plpgsql security definer
    set statement_timeout = '3s' set work_mem from current as $$ begin what := what * factor; end $$;
create function out_of(a int, out b int, inout c text) language plpgsql as $q$ begin b := a; end $q$;
create aggregate longest (text) (sfunc = textcat, stype = text, initcond = '', parallel = safe);
create aggregate sums (int) (sfunc = int4pl, stype = int, msfunc = int4pl, minvfunc = int4mi, mstype = int,
    initcond = '0', minitcond = '0');
create function same(counted, counted) returns bool language sql immutable as 'select $1.id = $2.id';
create operator === (leftarg = counted, rightarg = counted, function = same, commutator = ===, negator = !==,
    restrict = eqsel, join = eqjoinsel, hashes, merges);
create function differs(counted, counted) returns bool language sql immutable as 'select $1.id <> $2.id';
create operator !== (leftarg = counted, rightarg = counted, function = differs, commutator = !==, negator = ===);
comment on operator === (counted, counted) is 'by number';

-- Operator families, access methods, languages
create function backwards(int, int) returns int language sql immutable as 'select btint4cmp($2, $1)';
create operator family "Odd".back using btree;
create operator class "Odd".back_int for type int using btree family "Odd".back as
    operator 1 >, operator 2 >=, operator 3 =, operator 4 <=, operator 5 <, function 1 backwards(int, int);
create index counted_back on counted using btree (parent "Odd".back_int);
create access method mine type index handler bthandler;
create access method heap_too type table handler heap_tableam_handler;
comment on access method heap_too is 'as heap';
create table in_mine (n int) using heap_too;
insert into in_mine values (1), (2);
create function ours_handler() returns language_handler language c as '$libdir/plpgsql', 'plpgsql_call_handler';
create trusted language ours handler ours_handler;
create function in_ours() returns int language ours as 'begin return 3; end';
grant usage on language ours to :reader;

-- Keys in circles, constraints not valid, deferred, without a name of their own
create table hens (id int primary key, egg int not null);
create table eggs (id int primary key, hen int references hens deferrable initially deferred);
alter table hens add constraint laid_by foreign key (egg) references eggs on delete cascade
    deferrable initially deferred;
begin; insert into hens values (1, 1), (2, 2); insert into eggs values (1, 2), (2, 1), (3, null); commit;
create table old_rows (a int, b int references counted);
insert into old_rows values (-1, 1), (5, 2);
alter table old_rows add constraint positive check (a > 0) not valid;
alter table old_rows add constraint never_inherited check (b is not null) no inherit;
alter table old_rows add foreign key (a) references counted match full on update set null not valid;
create table rooms (room int, during tsrange, kind "Odd"."Colour", constraint apart exclude using gist
    (during with &&) where (room is not null) deferrable);
insert into rooms values (1, '[2024-01-01,2024-01-02)', 'red'), (null, '[2024-01-01,2024-01-02)', 'red');
comment on constraint apart on rooms is 'not two at a time';
create unique index counted_some on counted (lower(amount::text), id desc nulls last) include (parent)
    with (fillfactor = 70) where amount > 3;
alter index counted_some alter column 1 set statistics 321;
create index counted_brin on counted using brin (id) with (pages_per_range = 4, autosummarize = on);
alter table counted cluster on counted_pkey;

-- Views that need one another, rules, row security, barriers
create view first_view as select 1 as n, 'x'::text as t;
create view second_view with (security_barrier, check_option = cascaded) as
    select id, amount from counted where amount > 1;
create or replace view first_view as select id as n, 'x'::text as t from second_view;
create view grouped as select id, parent, amount from counted group by id;
create recursive view down (id, depth) as
    select id, 0 from counted where parent is null
    union all select c.id, d.depth + 1 from counted c join down d on c.parent = d.id;
create materialized view latest as select *, total(id) as t from down with no data;
create materialized view made as select n, t from first_view with data;
create unique index on made (n);
alter view first_view alter column t set default 'as written';
create rule into_first as on insert to first_view do instead
    insert into counted (id) values (new.n) returning id, ''::text;
create table told (id int);
create rule told as on update to counted where old.amount is distinct from new.amount do also
    insert into told values (new.id);
alter table counted disable rule told;
create table secret (who name default current_user, what text, primary key (who, what));
alter table secret enable row level security, force row level security;
create policy "own, only" on secret as restrictive for update to :owner using (who = current_user)
    with check (what <> 'x' and exists (select from counted where id = 1));
create policy all_of_it on secret for all to :reader using (true);
comment on policy all_of_it on secret is 'for readers';

-- Sequences
create sequence down_seq as smallint increment -3 minvalue -300 maxvalue 30 start 30 cache 5 cycle;
select nextval('down_seq'), nextval('down_seq');
create table odd_keys (
    a bigint generated always as identity (sequence name "the sequence" start 1000 increment -10 minvalue -5000
        maxvalue 5000 cycle cache 3),
    b smallserial, c int default nextval('down_seq'), lasting text not null default 'x' || nextval('down_seq'));
insert into odd_keys (b) values (default), (7);
alter sequence down_seq owned by odd_keys.c;
create sequence never_used start 5;
select setval('never_used', 9, false);

-- Columns: dropped ones, storage, compression, statistics, options, generated ones with functions of ours
create function shout(text) returns text language sql immutable parallel safe as 'select upper($1) || ''!''';
create table columns (gone int, a text compression pglz, b text, g text generated always as (shout(a)) stored,
    too int, h int default 5 check (h > 0) no inherit) with (fillfactor = 60);
alter table columns drop column gone, drop column too;
alter table columns add "select" int not null default 3, add late text default 'as it was';
insert into columns (a, b) values (repeat('a', 4000), repeat('b', 4000));
alter table columns alter a set storage external, alter b set storage main, alter a set statistics 0,
    alter b set statistics 777, alter b set (n_distinct = -0.5, n_distinct_inherited = 9),
    set (toast_tuple_target = 300, parallel_workers = 3, autovacuum_enabled = off, toast.autovacuum_enabled = off,
    vacuum_index_cleanup = off, user_catalog_table = true, log_autovacuum_min_duration = 100);
alter table columns replica identity full;
alter table counted replica identity using index counted_pkey;
alter table secret replica identity nothing;
create unlogged table passing (id int primary key, t text);
insert into passing values (1, 'x'), (2, 'y');
create statistics of_columns (mcv) on a, b from columns;
create statistics "Odd".of_expression on (lower(a)), (length(b)) from columns;
alter statistics of_columns set statistics 55;
comment on statistics of_columns is 'more';

-- Partitions by expressions, by hash, of partitions, with own defaults, attached; inheritance of several
create table by_text (t text, n int default 1, at date) partition by list (lower(t));
create table by_text_a partition of by_text for values in ('a', null) partition by hash (n, (n + 1));
create table by_text_a0 partition of by_text_a for values with (modulus 2, remainder 0) with (fillfactor = 50);
create table by_text_a1 (at date, junk int, n int default 9, t text);
alter table by_text_a1 drop column junk;
alter table by_text_a attach partition by_text_a1 for values with (modulus 2, remainder 1);
create table by_text_rest partition of by_text default partition by range (at, n);
create table by_text_2 partition of by_text_rest for values from (minvalue, minvalue) to ('2024-01-01', 5);
create table by_text_3 partition of by_text_rest for values from ('2024-01-01', 5) to (maxvalue, maxvalue);
insert into by_text select case n % 3 when 0 then 'A' when 1 then null else 'z' end, n, '2023-12-25'::date + n
    from generate_series(1, 40) n;
create index by_text_lower on only by_text (lower(t));
create index by_text_2_own on by_text_2 (n);
alter table by_text_2 add constraint small check (n < 1000);
create table mother (a int, x text default 'm' not null);
create table father (a int, y text);
create table baby (z int, check (a is not null)) inherits (mother, father);
alter table baby alter x set default 'b';
insert into baby values (1, 'x', 'y', 3);
create table loner () inherits (mother);
alter table loner no inherit mother;
create table typed of shape (primary key (corners), colour with options default 'red');

-- Triggers of every kind and state
create function nothing() returns trigger language plpgsql as 'begin return null; end';
create trigger later after update of amount on counted for each statement
    when (pg_trigger_depth() < 1) execute function nothing('a', 'b''c');
create trigger moved after update on counted referencing old table as was new table as fresh for each statement
    execute function nothing();
create constraint trigger at_last after insert on counted from hens deferrable initially deferred for each row
    when (new.id > 5) execute function nothing();
create trigger instead instead of delete on second_view for each row execute function nothing();
create trigger of_all after insert on by_text for each row execute function nothing();
alter table by_text_2 disable trigger of_all;
alter table counted disable trigger later, enable always trigger moved, enable replica trigger at_last;
create function ended() returns event_trigger language plpgsql as 'begin null; end';
create event trigger ended on ddl_command_end when tag in ('CREATE TABLE', 'DROP TABLE') execute function ended();
alter event trigger ended enable replica;
create event trigger dropped on sql_drop execute function ended();
alter event trigger dropped disable;

-- Text search, collations, conversions, foreign data
create text search dictionary ours_dict (template = snowball, language = german, stopwords = german);
create text search configuration ours_search (copy = pg_catalog.english);
alter text search configuration ours_search alter mapping for word, asciiword with ours_dict, simple;
alter text search configuration ours_search drop mapping for float;
create text search template ours_template (init = dsimple_init, lexize = dsimple_lexize);
create text search parser ours_parser (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end,
    lextypes = prsd_lextype, headline = prsd_headline);
create collation "Odd".numeric_order (provider = icu, locale = 'en-u-kn-true', deterministic = false);
create table sorted (t text collate "Odd".numeric_order unique);
insert into sorted values ('a10'), ('a9');
create default conversion ours for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8;
create foreign data wrapper nowhere;
create server away type 'x' version '1' foreign data wrapper nowhere options (host 'there', "Port" '5');
create user mapping for public server away options (password 'it''s secret');
create user mapping for :owner server away options ("user" 'me', password 'other');
create foreign table far (a int options (column_name 'A') not null, b text collate "C", check (a > 0))
    server away options (schema_name 's', table_name 't');
alter foreign table far alter b set statistics 99;
grant usage on foreign server away to :reader with grant option;
grant usage on foreign data wrapper nowhere to :owner;

-- Extensions, and members that changed
create extension hstore schema "Odd";
create extension pg_trgm;
create table with_extension (h "Odd".hstore, t text);
insert into with_extension values ('a=>1', 'text');
create index with_extension_gist on with_extension using gist (t gist_trgm_ops (siglen = 32));
revoke execute on function similarity(text, text) from public;

-- Rights: on columns, types, sequences, functions, by default, from others than the owner
grant select (id, amount), update (amount) on counted to :reader;
grant select on counted to :owner with grant option;
set role :owner; grant select on counted to :reader; reset role;
revoke all on function total(int, int[]) from public;
grant execute on function total(int, int[]) to :reader;
grant all on sequence down_seq to :reader;
grant create on schema "Odd" to :owner;
revoke all on schema public from public;
grant usage on schema public to :reader, :owner;
revoke all on secret from current_user;
alter default privileges for role :owner in schema public grant select on tables to :reader;
alter default privileges for role :owner revoke execute on functions from public;
alter default privileges in schema "Odd" grant usage on sequences to public;
alter default privileges for role :owner grant usage on schemas to :reader with grant option;
alter table old_rows owner to :owner;
alter function in_ours() owner to :owner;
alter type floats owner to :owner;
alter schema "Odd" owner to :owner;
select lo_create(4711), lo_create(4712);
select lo_put(4711, 100000, 'behind a hole');
alter large object 4711 owner to :owner;
grant select on large object 4711 to :reader;
comment on large object 4712 is 'empty';

-- What is offered to subscribers
create publication of_some for table counted, only mother with (publish = 'insert, truncate');
create publication of_root for table by_text with (publish_via_partition_root = true);
comment on publication of_some is 'for those';

-- Comments on what nobody comments on
comment on schema "Odd" is 'it''s odd';
comment on function total(int, int[]) is 'sum';
comment on aggregate sums(int) is 'more';
comment on procedure pay(numeric, numeric) is 'twice';
comment on cast (plain as int) is 'as is';
comment on collation "Odd".numeric_order is '9 before 10';
comment on conversion ours is 'latin';
comment on event trigger ended is 'late';
comment on extension pg_trgm is 'ours now';
comment on foreign data wrapper nowhere is 'no';
comment on server away is 'far';
comment on index counted_some is 'some';
comment on language ours is 'mine';
comment on materialized view made is 'made';
comment on operator class "Odd".back_int using btree is 'back';
comment on operator family "Odd".back using btree is 'family';
comment on rule told on counted is 'rule';
comment on sequence down_seq is 'down';
comment on text search configuration ours_search is 'conf';
comment on text search dictionary ours_dict is 'dict';
comment on text search parser ours_parser is 'parser';
comment on text search template ours_template is 'template';
comment on trigger later on counted is 'later';
comment on type floats is 'floats';
comment on view grouped is 'by key';
comment on column grouped.parent is 'above';
comment on foreign table far is 'far';
comment on access method mine is 'btree';

-- As many columns as a table can have
do $$ begin
    execute format('create table widest (%s)', (select string_agg('c' || n || ' int', ',') from generate_series(1, 1600) n));
end $$;
insert into widest (c1, c1600) values (1, 2), (null, null);
