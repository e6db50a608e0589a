-- What people and machines ask of the platform. Each request: who asks, how often against the others, what it is called.
-- "as user" requests are one transaction that says who is signed in. Names like %(user)s are drawn for each request.

-- request: web 10: course page
select id, title, summary, level, price, is_free, enrolled_count, tags, duration from courses where slug = %(slug)s;
select position, title, kind, duration_seconds from lessons where course_id = %(course)s order by position;
select stars, body, helpful_count, created_at from reviews where course_id = %(course)s order by helpful_count desc, created_at desc limit 5;

-- request: web 8: front page
select id, slug, title, price, enrolled_count from courses where state = 'published' order by enrolled_count desc limit 12;
select category, courses, enrollments from category_statistics order by enrollments desc;

-- request: web 6: my courses
select enrollment.id, course.title, enrollment.state, enrollment.progress, enrollment.last_activity_at
from enrollments enrollment join courses course on course.id = enrollment.course_id
where enrollment.user_id = %(user)s order by enrollment.last_activity_at desc nulls last;

-- request: web 4: search by words
select id, slug, title, ts_rank(search, query) as rank from courses, websearch_to_tsquery('english', %(words)s) as query
where search @@ query and state = 'published' order by rank desc limit 20;

-- request: web 3: search by tag
select id, slug, title, level from courses where tags @> array[%(tag)s] order by enrolled_count desc limit 20;

-- request: web 4: category page
select course.id, course.slug, course.title, course.price, performance.mean_stars, performance.completion_ratio
from courses course left join course_performance performance on performance.course_id = course.id
where course.category_id = %(category)s and course.state = 'published' order by course.enrolled_count desc limit 24;

-- request: web 3: category tree
with recursive tree as (
    select id, name, 1 as depth from categories where parent_id is null
    union all
    select child.id, child.name, tree.depth + 1 from categories child join tree on child.parent_id = tree.id
)
select depth, name from tree order by depth, name;

-- request: web 8: lesson page
select lesson.id, lesson.title, lesson.kind, lesson.body, lesson.video_url from lessons lesson where lesson.id = %(lesson)s;
select id, title, pass_mark, questions from quizzes where lesson_id = %(lesson)s;

-- request: web 3 as user: lesson notes
select id, body, created_at from private_notes where lesson_id = %(lesson)s order by created_at;

-- request: web 1 as user: write a note
insert into private_notes (user_id, lesson_id, body) values (%(user)s, %(lesson)s, %(sentence)s);

-- request: web 3: my notifications
select id, kind, payload ->> 'text' as text, created_at from notifications where user_id = %(user)s and read_at is null order by created_at desc limit 20;

-- request: web 3 as user: read notifications
update notifications set read_at = now() where user_id = %(user)s and read_at is null;

-- request: web 2: sign in
select id, full_name, roles, settings from users where email = %(email)s;
update users set last_seen_at = now() where id = %(user)s;

-- request: web 1: sign in with odd capitals
select id, full_name from users where lower(email) = lower(%(email)s);

-- request: web 2 as user: enrol
insert into enrollments (user_id, course_id, source) values (%(user)s, %(course)s, %(source)s) on conflict (user_id, course_id) do nothing;
update courses set enrolled_count = enrolled_count + 1 where id = %(course)s;
insert into notifications (user_id, kind, payload) values (%(user)s, 'welcome', jsonb_build_object('course', %(course)s::bigint));

-- request: web 2 as user: pay
insert into billing.payments (enrollment_id, user_id, amount, method, state, paid_at, details)
select enrollment.id, enrollment.user_id, course.price, %(method)s, 'paid', now(), jsonb_build_object('invoice', 'A-' || enrollment.id)
from enrollments enrollment join courses course on course.id = enrollment.course_id
where enrollment.user_id = %(user)s and course.price > 0
    and not exists (select from billing.payments payment where payment.enrollment_id = enrollment.id) limit 1;

-- request: web 1: my payments
select created_at, amount, tax, currency, method, state from billing.payments where user_id = %(user)s order by created_at desc limit 20;

-- request: web 1: check a coupon
select percent from billing.coupons where code = upper(%(coupon)s) and valid @> current_date;

-- request: web 2 as user: hand in a quiz
insert into quiz_attempts (quiz_id, user_id, score, passed, answers, started_at, submitted_at)
values (%(quiz)s, %(user)s, %(score)s, %(score)s >= 60, '[1, 0, 3, 2, 1]', now() - interval '5 minutes', now());

-- request: web 2: my attempts
select quiz_id, score, passed, time_taken from quiz_attempts where user_id = %(user)s order by started_at desc limit 10;

-- request: web 1 as user: write a review
insert into reviews (course_id, user_id, stars, body) values (%(course)s, %(user)s, %(stars)s, %(sentence)s)
on conflict (course_id, user_id) do update set stars = excluded.stars, body = excluded.body;

-- request: web 1 as user: helpful review
update reviews set helpful_count = helpful_count + 1
where id = (select id from reviews where course_id = %(course)s order by created_at desc limit 1);

-- request: web 1 as user: change settings
update users set settings = jsonb_set(settings, '{theme}', to_jsonb(%(theme)s::text)) where id = %(user)s;

-- request: web 1: recommended
select other.course_id, count(*) as together
from enrollments mine
join enrollments companion on companion.course_id = mine.course_id and companion.enrolled_at > now() - interval '14 days'
join enrollments other on other.user_id = companion.user_id and other.course_id <> mine.course_id
where mine.user_id = %(user)s group by other.course_id order by together desc limit 6;

-- request: web 1: teacher's desk
select course.id, course.title, course_seats(course.id) as seats from courses course where course.teacher_id = %(teacher)s order by course.id;

-- request: web 1: who finished this lesson
select count(*) from lesson_progress where lesson_id = %(lesson)s and completed_at is not null;

-- request: web 2: live sessions of the week
select id, course_id, room, lower(during) as begins_at from live_sessions where during && tstzrange(now(), now() + interval '7 days') order by during;

-- request: mobile 8 as user: watched some more
insert into lesson_progress (enrollment_id, lesson_id, watched_seconds, position_seconds)
select enrollment.id, lesson.id, 30, 30
from enrollments enrollment join lessons lesson on lesson.course_id = enrollment.course_id
where enrollment.user_id = %(user)s and lesson.position = %(position)s limit 1
on conflict (enrollment_id, lesson_id) do update
set watched_seconds = lesson_progress.watched_seconds + 30, position_seconds = excluded.position_seconds, updated_at = now();
update enrollments set last_activity_at = now() where user_id = %(user)s and state = 'active';

-- request: mobile 2 as user: lesson done
update lesson_progress set completed_at = now(), updated_at = now()
where completed_at is null and enrollment_id in (select id from enrollments where user_id = %(user)s);
update enrollments set progress = least(1, progress + 0.05),
    state = case when progress >= 0.95 then 'completed' else state end,
    completed_at = case when progress >= 0.95 then now() else completed_at end
where user_id = %(user)s and course_id = %(course)s and state = 'active';

-- request: mobile 4: where was I
select progress.lesson_id, progress.position_seconds, progress.updated_at
from lesson_progress progress join enrollments enrollment on enrollment.id = progress.enrollment_id
where enrollment.user_id = %(user)s order by progress.updated_at desc limit 3;

-- request: mobile 2: bookmarks
select lesson_id, note from bookmarks where user_id = %(user)s order by created_at desc;

-- request: mobile 1 as user: set a bookmark
insert into bookmarks (user_id, lesson_id) values (%(user)s, %(lesson)s) on conflict (user_id, lesson_id) do update set created_at = now();

-- request: mobile 4: ping
insert into device_pings (user_id, device, address) values (%(user)s, md5(%(user)s::text)::uuid, %(address)s);

-- request: events 6: clicks
insert into analytics_events (user_id, session_id, name, path, properties, client_address)
select %(user)s, %(session)s::uuid, name, '/courses/' || %(course)s::text, jsonb_build_object('course', %(course)s::bigint, 'device', 'desktop'), %(address)s::inet
from unnest(%(clicks)s::text[]) as name;

-- request: events 1: one event
insert into analytics_events (session_id, name, path) values (%(session)s::uuid, 'page_viewed', '/') returning id;

-- request: support 2: trace of a visit
select occurred_at, name, path, properties from analytics_events where session_id = %(known_session)s::uuid order by occurred_at;

-- request: support 3: find a person
select id, email, full_name, last_seen_at from users where full_name ilike '%%' || %(name)s || '%%' order by last_seen_at desc nulls last limit 20;

-- request: support 2: everything about a person
select to_jsonb(person) - 'avatar' from users person where id = %(user)s;
select occurred_at, name, path from analytics_events where user_id = %(user)s order by occurred_at desc limit 50;
select * from billing.payments where user_id = %(user)s;

-- request: support 1: check a certificate
select person.full_name, course.title, enrollment.completed_at
from enrollments enrollment join users person on person.id = enrollment.user_id join courses course on course.id = enrollment.course_id
where enrollment.certificate_code = %(certificate)s;

-- request: reports 3: clicks of today by the hour
select date_trunc('hour', occurred_at) as hour, name, count(*) from analytics_events
where occurred_at > now() - interval '1 day' group by 1, 2 order by 1, 2;

-- request: reports 2: best quiz takers
select user_id, quiz_id, score, percent_rank() over (order by score) as standing
from quiz_attempts where submitted_at is not null order by standing desc, time_taken limit 500;

-- request: reports 2: revenue by month and category
select date_trunc('month', payment.paid_at) as month, category.name, sum(payment.amount) as revenue
from billing.payments payment
join enrollments enrollment on enrollment.id = payment.enrollment_id
join courses course on course.id = enrollment.course_id
join categories category on category.id = course.category_id
where payment.state = 'paid' group by 1, 2 order by 1, 3 desc;

-- request: reports 2: learners of note
select full_name, enrolled, completed, hours_watched from user_learning_summary order by hours_watched desc limit 50;

-- request: reports 1: dropout curve
select width_bucket(progress, 0, 1, 10) as tenth, count(*) from enrollments where course_id = %(course)s group by 1 order by 1;

-- request: reports 1: cohorts
select date_trunc('month', person.created_at) as cohort, count(distinct person.id) as people,
    count(distinct enrollment.user_id) filter (where enrollment.last_activity_at > now() - interval '30 days') as still_here
from users person left join enrollments enrollment on enrollment.user_id = person.id group by 1 order by 1;

-- request: reports 1: active learners by country
select country, count(*) from active_learners group by country order by 2 desc;

-- request: reports 1: quality of courses
select title, enrolled, completion_ratio, mean_stars, revenue from course_performance where enrolled > 20 order by completion_ratio nulls first limit 30;

-- request: batch 3: refresh the learning summary
refresh materialized view concurrently user_learning_summary;

-- request: batch 3: refresh the course performance
refresh materialized view concurrently course_performance;

-- request: batch 2 as user: give up the silent
update enrollments set state = 'abandoned'
where id in (select id from enrollments where state = 'active' and last_activity_at < now() - interval '60 days' order by last_activity_at limit 200);

-- request: batch 2 as user: daily digest
insert into notifications (user_id, kind, payload)
select id, 'digest', '{"text": "Your week in numbers"}' from users where newsletter and id %% 97 = %(user)s %% 97 order by id limit 300;

-- request: batch 1 as user: clear old notifications
delete from notifications where id in (select id from notifications where read_at < now() - interval '90 days' limit 500);

-- request: batch 1 as user: spring sale
update courses set price = round(price * 0.95, 2) where category_id = %(category)s and price > 10;
update courses set price = 49 where category_id = %(category)s and price between 0.01 and 10;
