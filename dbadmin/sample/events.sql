-- One month of clicks, ordered by time. The loader runs this for each month from sample.month on (first day), sample.events rows.

-- stage: events of (each month)
select setseed(0.5);
with calendar as (
    select array_agg(day order by day) as days, array_agg(edge order by day) as edges
    from (
        select day, sum(weight) over (order by day) / sum(weight) over () as edge
        from (
            select day, case when extract(isodow from day) > 5 then 0.6 else 1 end * (1 + extract(day from day) / 200) as weight
            from generate_series(current_setting('sample.month')::timestamptz,
                least(current_setting('sample.month')::timestamptz + interval '1 month' - interval '1 day', now()), interval '1 day') as day
        ) weighed
    ) summed
), visits as materialized (
    -- A visit is some clicks of one person within minutes; one of four is not signed in.
    select visit,
        least(now() - random() * interval '3 hours', days[1 + least(width_bucket(random(), edges), cardinality(edges) - 1)] + pg_temp.time_of_day()) as began_at,
        case when random() < 0.75 then 1 + floor(current_setting('sample.users')::int * power(random(), 1.3))::int end as user_id,
        md5(current_setting('sample.month') || visit)::uuid as session_id,
        '203.0.113.0'::inet + floor(random() * 250)::int as client_address,
        1 + floor(-7 * ln(1 - random()))::int as clicks,
        (array['phone', 'phone', 'desktop', 'desktop', 'desktop', 'tablet'])[1 + floor(random() * 6)::int] as device
    from calendar, generate_series(1, current_setting('sample.events')::int / 7) as visit
)
insert into analytics_events (occurred_at, user_id, session_id, name, path, properties, client_address)
select greatest(current_setting('sample.month')::timestamptz, least(now(), began_at + make_interval(secs => 40 * (click - random())))),
    user_id, session_id, kind,
    case kind when 'search' then '/search' when 'course_viewed' then '/courses/' || course when 'checkout_started' then '/checkout/' || course
         else '/courses/' || course || '/lessons/' || 1 + (visit + click) % 12 end,
    case kind
        when 'video_played' then jsonb_build_object('course', course, 'device', device, 'seconds', (visit * 7 + click * 31) % 600, 'speed', 1.25)
        when 'search' then jsonb_build_object('device', device, 'words', (array['python', 'sql', 'excel', 'deutsch', 'guitar', 'statistics', 'design'])[1 + visit % 7])
        else jsonb_build_object('course', course, 'device', device) end,
    client_address
from visits, generate_series(1, clicks) as click,
lateral (select
    (array['page_viewed', 'page_viewed', 'course_viewed', 'lesson_opened', 'lesson_opened', 'video_played', 'video_played', 'video_played', 'video_paused',
        'quiz_started', 'search', 'checkout_started'])[1 + floor(12 * power(random(), case when click < 3 then 1.8 else 0.9 end))::int] as kind,
    1 + floor(power(random(), 2.5) * current_setting('sample.courses')::int)::int as course) drawn
where began_at < now()
order by 1;
