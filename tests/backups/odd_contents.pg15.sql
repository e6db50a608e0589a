create publication with_filter for table columns (a, "select") where (h > 3);
create publication of_schema for tables in schema "Odd";
alter table sorted add constraint once unique nulls not distinct (t);
create view as_invoker with (security_invoker = true) as select * from secret;
create table nulled (a int, b int, foreign key (a) references counted on delete set null (a));
-- An unlogged sequence; a pg_dump of 15 or later writes one of 14 so that 14 does not understand it.
create unlogged table passing_too (id int generated always as identity, t text);
insert into passing_too (t) values ('x'), ('y');
