-- The tables of a learning platform: what teachers publish, what learners do, what they pay.
-- Secondary indexes and foreign keys come after the data (constraints.sql), because filling is faster without them.

-- stage: types and functions
create schema billing;
comment on schema billing is 'What learners pay; kept apart because the accountants have their own rights';

create domain email_address as text check (value ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$');
create domain star_rating as smallint check (value between 1 and 5);
create type course_level as enum ('beginner', 'intermediate', 'advanced');
create type course_state as enum ('draft', 'published', 'retired');
create type lesson_kind as enum ('video', 'reading', 'exercise', 'quiz');
create type enrollment_state as enum ('active', 'paused', 'completed', 'abandoned');
create type billing.payment_state as enum ('pending', 'paid', 'failed', 'refunded');

create function touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end $$;
comment on function touch_updated_at is 'Keeps updated_at true, whoever writes';

-- stage: tables
create table categories (
    id          integer generated always as identity primary key,
    parent_id   integer references categories,
    slug        text not null unique,
    name        text not null,
    position    smallint not null default 0
);

create table users (
    id              bigint generated always as identity primary key,
    email           email_address not null unique,
    full_name       text not null,
    country         char(2) not null,
    locale          text not null default 'en',
    time_zone       text not null default 'UTC',
    roles           text[] not null default '{learner}',
    settings        jsonb not null default '{}',
    newsletter      boolean not null default false,
    birth_year      smallint check (birth_year between 1900 and 2020),
    avatar          bytea,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    last_seen_at    timestamptz,
    deactivated_at  timestamptz,
    constraint users_seen_after_creation check (last_seen_at >= created_at)
);
comment on table users is 'Everyone with an account: learners, teachers, staff';
comment on column users.settings is 'What the person chose in the settings page';

create table courses (
    id              integer generated always as identity primary key,
    category_id     integer not null,
    teacher_id      bigint not null,
    slug            text not null unique,
    title           text not null,
    summary         text not null,
    level           course_level not null,
    language        text not null default 'en',
    tags            text[] not null default '{}',
    price           numeric(8, 2) not null default 0 check (price >= 0),
    is_free         boolean generated always as (price = 0) stored,
    state           course_state not null default 'draft',
    duration        interval,
    enrolled_count  integer not null default 0,
    search          tsvector generated always as (to_tsvector('english', title || ' ' || summary)) stored,
    published_at    timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
);
comment on column courses.enrolled_count is 'Counted by the application at each enrolment';

create table lessons (
    id                integer generated always as identity primary key,
    course_id         integer not null,
    position          smallint not null check (position > 0),
    title             text not null,
    kind              lesson_kind not null,
    body              text not null default '',
    duration_seconds  integer not null check (duration_seconds > 0),
    video_url         text,
    unique (course_id, position)
);

create table quizzes (
    id          integer generated always as identity primary key,
    lesson_id   integer not null,
    title       text not null,
    pass_mark   numeric(5, 2) not null default 60 check (pass_mark between 0 and 100),
    questions   jsonb not null
);

create table enrollments (
    id                bigint generated always as identity primary key,
    user_id           bigint not null,
    course_id         integer not null,
    state             enrollment_state not null default 'active',
    source            text not null default 'search',
    progress          numeric(4, 3) not null default 0 check (progress between 0 and 1),
    certificate_code  text,
    enrolled_at       timestamptz not null default now(),
    last_activity_at  timestamptz,
    completed_at      timestamptz
);
comment on table enrollments is 'One row for each learner in each course';

create table lesson_progress (
    enrollment_id    bigint not null,
    lesson_id        integer not null,
    watched_seconds  integer not null default 0 check (watched_seconds >= 0),
    position_seconds integer not null default 0,
    completed_at     timestamptz,
    updated_at       timestamptz not null default now(),
    primary key (enrollment_id, lesson_id)
);

create table quiz_attempts (
    id            bigint generated always as identity primary key,
    quiz_id       integer not null,
    user_id       bigint not null,
    score         numeric(5, 2) check (score between 0 and 100),
    passed        boolean,
    answers       jsonb not null default '[]',
    started_at    timestamptz not null default now(),
    submitted_at  timestamptz,
    time_taken    interval generated always as (submitted_at - started_at) stored
);

create table reviews (
    id             bigint generated always as identity primary key,
    course_id      integer not null,
    user_id        bigint not null,
    stars          star_rating not null,
    body           text not null default '',
    helpful_count  integer not null default 0,
    created_at     timestamptz not null default now(),
    unique (course_id, user_id)
);

create table notifications (
    id          bigint generated always as identity primary key,
    user_id     bigint not null,
    kind        text not null,
    payload     jsonb not null default '{}',
    read_at     timestamptz,
    created_at  timestamptz not null default now()
);

create table bookmarks (
    user_id     bigint not null,
    lesson_id   integer not null,
    note        text,
    created_at  timestamptz not null default now(),
    primary key (user_id, lesson_id)
);
comment on table bookmarks is 'Written by the mobile application, which wanted no foreign keys';

create table private_notes (
    id          uuid primary key default gen_random_uuid(),
    user_id     bigint not null,
    lesson_id   integer not null,
    body        text not null,
    created_at  timestamptz not null default now()
);
alter table private_notes enable row level security;
create policy own_notes on private_notes
    using (user_id = nullif(current_setting('app.current_user_id', true), '')::bigint);

create table live_sessions (
    id           uuid primary key default gen_random_uuid(),
    course_id    integer not null,
    room         integer not null,
    during       tstzrange not null,
    host_id      bigint not null,
    exclude using gist (int4range(room, room, '[]') with &&, during with &&)
);
comment on table live_sessions is 'A room holds one session at a time, and the database sees to it';

create table device_pings (
    id         integer generated by default as identity primary key,
    user_id    bigint not null,
    device     uuid not null,
    address    inet,
    pinged_at  timestamptz not null default now()
);

create table "Legacy Import 2023" (
    "User Id"     bigint,
    "E-Mail"      text,
    "Paid (EUR)"  text,
    "select"      text,
    "imported at" date
);
comment on table "Legacy Import 2023" is 'From the old shop; nobody dares to drop it';

create table billing.payments (
    id                  bigint generated always as identity primary key,
    enrollment_id       bigint not null,
    user_id             bigint not null,
    amount              numeric(10, 2) not null,
    tax_rate            numeric(4, 3) not null default 0.19,
    tax                 numeric(10, 2) generated always as (round(amount * tax_rate, 2)) stored,
    currency            char(3) not null default 'EUR',
    method              text not null,
    state               billing.payment_state not null default 'pending',
    coupon              text,
    provider_reference  uuid not null default gen_random_uuid(),
    details             jsonb not null default '{}',
    created_at          timestamptz not null default now(),
    paid_at             timestamptz
);

create table billing.coupons (
    code      text primary key,
    percent   smallint not null check (percent between 1 and 100),
    valid     daterange not null,
    courses   integer[] not null default '{}'
);

create table analytics_events (
    id              bigint generated always as identity,
    occurred_at     timestamptz not null default now(),
    user_id         bigint,
    session_id      uuid not null,
    name            text not null,
    path            text not null,
    properties      jsonb not null default '{}',
    client_address  inet,
    primary key (occurred_at, id)
) partition by range (occurred_at);
comment on table analytics_events is 'What people click; a partition each month, made by hand some months ahead';

-- Runs with its owner's rights but takes its names from the caller's search_path: a finding for a security review.
create function course_seats(course integer) returns bigint language sql stable security definer as
$$ select count(*) from enrollments where course_id = course and state <> 'abandoned' $$;

create trigger touch_updated_at before update on users for each row execute function touch_updated_at();
create trigger touch_updated_at before update on courses for each row execute function touch_updated_at();

-- The last of the months made ahead lies after a hole: the month in three months' time was forgotten.
-- stage: partitions
do $$
declare
    this_month date := date_trunc('month', now());
    ahead int;
    first_day date;
begin
    foreach ahead in array array[-12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 4] loop
        first_day := this_month + make_interval(months => ahead);
        execute format('create table %I partition of analytics_events for values from (%L) to (%L)',
            'analytics_events_' || to_char(first_day, 'YYYY_MM'), first_day, first_day + interval '1 month');
    end loop;
end $$;
