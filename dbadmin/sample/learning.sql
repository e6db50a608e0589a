-- Who learns what, how far they get, and what they say about it. Few courses have most of the learners; most learners stop early.

-- stage: enrollments
select setseed(0.44);
-- The popularity of a course follows its rank (Zipf); the ranks are spread over the ids.
create temporary table popularity as
select array_agg(course_id order by rank) as courses, array_agg(edge::float8 order by rank) as edges
from (
    select course_id, rank, sum(1 / power(rank, 0.9)) over (order by rank) / sum(1 / power(rank, 0.9)) over () as edge
    from (select id as course_id, row_number() over (order by md5(id::text)) as rank from courses where state <> 'draft') ranked
) weighed;
insert into enrollments (user_id, course_id, state, source, progress, certificate_code, enrolled_at, last_activity_at, completed_at)
select user_id, course_id,
    case when progress = 1 then 'completed' when last_activity_at < now() - interval '60 days' then 'abandoned'
         when random() < 0.05 then 'paused' else 'active' end::enrollment_state,
    source, progress,
    case when progress = 1 then upper(substr(md5(user_id || '-' || course_id), 1, 12)) end,
    enrolled_at, last_activity_at,
    case when progress = 1 then last_activity_at end
from (
    select *, least(now(), enrolled_at + interval '70 days' * power(random(), 1.5) * greatest(progress, 0.02)) as last_activity_at
    from (
        select distinct on (user_id, course_id)
            user_id, course_id, pg_temp.moment(created_at, now(), 2.2) as enrolled_at,
            pg_temp.one_of('{search,search,search,recommendation,recommendation,newsletter,advert,friend,teacher}') as source,
            -- The dropout curve: a third finishes, the rest is lost early.
            case when random() < 0.18 + 0.3 * ((course_id * 31) % 100) / 100.0 then 1 else round(power(random(), 2.4)::numeric, 3) end as progress
        from (
            select person.id as user_id, person.created_at,
                popularity.courses[1 + least(width_bucket(random(), popularity.edges), cardinality(popularity.edges) - 1)] as course_id
            from (select id, created_at, 1 + floor(-5.5 * ln(1 - random()))::int as wishes from users) person,
                popularity, generate_series(1, person.wishes)
        ) wishes
    ) chosen
) lived
order by enrolled_at;
update courses set enrolled_count = counted.enrollments
from (select course_id, count(*) as enrollments from enrollments group by course_id) counted
where counted.course_id = courses.id;

-- stage: lesson progress
select setseed(0.55);
insert into lesson_progress (enrollment_id, lesson_id, watched_seconds, position_seconds, completed_at, updated_at)
select
    enrollment.id, lesson.id,
    (lesson.duration_seconds * (0.8 + random() * 0.6))::int,
    case when lesson.position < reached then lesson.duration_seconds else (lesson.duration_seconds * random())::int end,
    case when lesson.position <= done then at end,
    at
from (
    select enrollment.*, count(*) as lessons, floor(enrollment.progress * count(*)) as done, ceil(enrollment.progress * count(*)) as reached
    from enrollments enrollment join lessons using (course_id)
    group by enrollment.id
) enrollment
join lessons lesson on lesson.course_id = enrollment.course_id and lesson.position <= enrollment.reached,
lateral (select enrollment.enrolled_at + (enrollment.last_activity_at - enrollment.enrolled_at) * (lesson.position - random() * 0.9) / enrollment.reached::float8 as at) moment
order by enrollment.id, lesson.id;

-- stage: quiz attempts
select setseed(0.66);
insert into quiz_attempts (quiz_id, user_id, score, passed, answers, started_at, submitted_at)
select quiz_id, user_id, score, score >= pass_mark,
    (select jsonb_agg(floor(random() * 4)::int) from generate_series(1, questions + tries * 0)),
    started_at, case when random() < 0.97 then started_at + make_interval(secs => 60 + 900 * power(random(), 1.5)) end
from (
    select quiz.id as quiz_id, enrollment.user_id, quiz.pass_mark, jsonb_array_length(quiz.questions) as questions, tries,
        round((100 * (1 - power(random(), 1.2 + 0.3 * tries) * 0.8))::numeric, 2) as score,
        progress.completed_at + make_interval(mins => 40 * (tries - 1)) as started_at
    from (
        select *, case when random() < 0.62 then 1 when random() < 0.7 then 2 else 3 end as needed
        from lesson_progress where completed_at is not null
    ) progress
    join quizzes quiz using (lesson_id)
    join enrollments enrollment on enrollment.id = progress.enrollment_id,
    generate_series(1, progress.needed) as tries
) tried
where started_at < now() - interval '20 minutes';

-- stage: reviews, bookmarks, notes, live sessions
select setseed(0.77);
insert into reviews (course_id, user_id, stars, body, helpful_count, created_at)
select course_id, user_id, stars,
    case when random() < 0.7 then
        (array[pg_temp.one_of(array['Too fast for me. ', 'Many links are dead. ', 'I expected more. ']),
               pg_temp.one_of(array['Hard to follow in the middle. ', 'Good idea, thin examples. ', 'Sound quality is poor. ']),
               pg_temp.one_of(array['Solid. ', 'Does what it says. ', 'Fine for a start, less for later. ']),
               pg_temp.one_of(array['Well explained. ', 'Good pace, fair quizzes. ', 'I use it at work already. ']),
               pg_temp.one_of(array['The best course I took this year. ', 'Clear, short, honest. ', 'The teacher answers within hours! '])])[stars]
        || pg_temp.one_of(array['', '', 'Would take the next one.', 'The exercises make the difference.', 'Please add captions.', 'Worth the evening hours.'])
    else '' end,
    floor(12 * power(random(), 6))::int, least(now(), last_activity_at + random() * interval '3 days')
from (
    select course_id, user_id, last_activity_at,
        greatest(1, least(5, round(3.1 + 1.6 * progress + (random() + random() - 1) * 2 - ((course_id * 13) % 10) / 8.0)))::smallint as stars
    from enrollments where random() < 0.05 + 0.28 * progress
) opinions;
-- No foreign keys here, so some bookmarks point to lessons that never were.
insert into bookmarks (user_id, lesson_id, note, created_at)
select enrollment.user_id, lesson.id + case when random() < 0.01 then 1000000 else 0 end,
    case when random() < 0.3 then pg_temp.one_of(array['again before the exam', 'good example', 'ask about this', 'for the project']) end,
    pg_temp.moment(enrollment.enrolled_at, now())
from enrollments enrollment join lessons lesson using (course_id)
where random() < 0.02
on conflict do nothing;
insert into private_notes (user_id, lesson_id, body, created_at)
select user_id, lesson_id, pg_temp.one_of(array['Ask in the live session.', 'Compare with chapter two.', 'Do not forget: save first.', 'Try this on my own data.']), created_at
from bookmarks where random() < 0.3 and lesson_id < 1000000;
insert into live_sessions (course_id, room, during, host_id)
select course.id, room, tstzrange(day + make_interval(hours => 17 + 2 * slot), day + make_interval(hours => 18 + 2 * slot)), course.teacher_id
from generate_series(date_trunc('day', now()) - interval '60 days', date_trunc('day', now()) + interval '20 days', interval '1 day') as day,
    generate_series(1, 3) as room, generate_series(0, 1) as slot,
    lateral (select id, teacher_id from courses where id = 1 + (extract(doy from day)::int * 7 + room * 3 + slot) % pg_temp.scaled(300, 0.5)) course;

-- stage: notifications and pings
select setseed(0.88);
insert into notifications (user_id, kind, payload, created_at)
select enrollment.user_id, kind, jsonb_build_object('course', enrollment.course_id, 'text', pg_temp.one_of(array['You are nearly there.',
        'A new lesson is out.', 'Your teacher answered.', 'Keep your streak: ten minutes today.'])),
    pg_temp.moment(enrollment.enrolled_at, now())
from enrollments enrollment, unnest('{welcome,reminder}'::text[]) as kind where random() < 0.55;
insert into device_pings (user_id, device, address, pinged_at)
select person.id, md5(person.id::text)::uuid, '198.51.100.0'::inet + (person.id % 250), now() - random() * interval '14 days'
from users person, generate_series(1, 2) where random() < 0.7;
