alter table columns add v int generated always as (h * 2) virtual;
alter table counted add constraint wished check (amount > 100) not enforced;
alter table old_rows add constraint a_there not null a not valid;
create extension btree_gist;
create table spans (id int, during daterange, primary key (id, during without overlaps));
create table in_spans (id int, during daterange, foreign key (id, period during) references spans (id, period during));
create publication generated for table columns with (publish_generated_columns = stored);
alter default privileges for role :owner grant select on large objects to :reader;
