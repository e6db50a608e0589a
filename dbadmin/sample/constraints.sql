-- What a careful team adds: the indexes that its pages need, and foreign keys.

-- stage: indexes
create index courses_category_id_idx on courses (category_id);
create index courses_teacher_id_idx on courses (teacher_id);
create index courses_search_idx on courses using gin (search);
create index courses_tags_idx on courses using gin (tags);
create index quizzes_lesson_id_idx on quizzes (lesson_id);
create index enrollments_course_id_idx on enrollments (course_id, enrolled_at desc);
create index enrollments_active_idx on enrollments (last_activity_at) where state = 'active';
create index quiz_attempts_user_id_idx on quiz_attempts (user_id, started_at desc);
create index quiz_attempts_quiz_id_idx on quiz_attempts (quiz_id);
create index reviews_user_id_idx on reviews (user_id);
create index notifications_user_id_idx on notifications (user_id, created_at desc);
create index private_notes_user_id_idx on private_notes (user_id);
create index live_sessions_course_id_idx on live_sessions (course_id);
create index payments_enrollment_id_idx on billing.payments (enrollment_id);
create index payments_user_id_idx on billing.payments (user_id, created_at desc);
create index payments_created_at_idx on billing.payments using brin (created_at);
create unique index enrollments_user_course_key on enrollments (user_id, course_id);

-- stage: indexes of the events
create index analytics_events_user_id_idx on analytics_events (user_id, occurred_at desc);

-- stage: foreign keys
alter table courses add foreign key (category_id) references categories, add foreign key (teacher_id) references users;
alter table lessons add foreign key (course_id) references courses on delete cascade;
alter table quizzes add foreign key (lesson_id) references lessons on delete cascade;
alter table enrollments add foreign key (user_id) references users on delete cascade, add foreign key (course_id) references courses;
alter table quiz_attempts add foreign key (quiz_id) references quizzes on delete cascade, add foreign key (user_id) references users on delete cascade;
alter table reviews add foreign key (course_id) references courses, add foreign key (user_id) references users on delete cascade;
alter table notifications add foreign key (user_id) references users on delete cascade;
alter table private_notes add foreign key (user_id) references users on delete cascade;
alter table live_sessions add foreign key (course_id) references courses;
alter table billing.payments add foreign key (enrollment_id) references enrollments, add foreign key (user_id) references users;
alter table billing.payments add foreign key (coupon) references billing.coupons;

-- stage: foreign keys of the progress
alter table lesson_progress add foreign key (enrollment_id) references enrollments on delete cascade;
