-- Honest problems: each is made the way it happens in life, and none is only a number.

-- stage: indexes nobody needs
create index enrollments_user_id_idx on enrollments (user_id);
create index idx_enrollments_user on enrollments (user_id);
create index lesson_progress_updated_at_idx on lesson_progress (updated_at);
create index users_time_zone_idx on users (time_zone, full_name);

-- stage: a foreign key without an index
alter table lesson_progress add foreign key (lesson_id) references lessons on delete cascade;

-- Refunds of the old shop were stored as negative payments, so validating fails until someone decides about them.
-- stage: a constraint that was never validated
insert into billing.payments (enrollment_id, user_id, amount, method, state, created_at, paid_at)
select id, user_id, -29, 'transfer', 'refunded', enrolled_at, enrolled_at from enrollments where id % 2000 = 0;
alter table billing.payments add constraint payments_amount_not_negative check (amount >= 0) not valid;

-- The old application counted every ping of every device; the counter is an integer.
-- stage: a counter near its end
select setval(pg_get_serial_sequence('device_pings', 'id'), 2130706432);
insert into device_pings (user_id, device) select id, md5(id::text)::uuid from users where id % 10 = 0;

-- The repairs changed an indexed column, so no page could get rid of the old versions by itself.
-- stage: dead rows that stay
alter table notifications set (autovacuum_enabled = off);
update notifications set read_at = created_at + interval '3 hours', created_at = created_at - interval '1 second' where id % 5 <> 0;
update notifications set payload = payload || '{"seen": true}', created_at = created_at + interval '1 second' where id % 3 <> 0;
delete from notifications where id % 11 = 0;

-- Some people have two accounts whose addresses differ in case only. The team found out by an index build that failed.
-- stage: two accounts of one person
insert into users (email, full_name, country, created_at)
select initcap(email), full_name, country, created_at + interval '1 day' from users where id in (7, 77, 777) and created_at < now() - interval '1 day';

-- stage: statistics (alone)
drop index concurrently if exists users_email_lower_key;
-- fails: unique_violation
create unique index concurrently users_email_lower_key on users (lower(email));
-- Counts of what this session did reach the statistics a second late; after an analyze they would count twice.
select pg_sleep(1.1);
vacuum analyze users, courses, lessons, quizzes, enrollments, reviews, categories, bookmarks;
analyze;
