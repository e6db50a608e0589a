-- Three materialized views for the reports, and a plain one. The first two can be refreshed concurrently; the third has no
-- unique index, so its refresh stops its readers, so nobody refreshes it.

-- stage: category statistics
create materialized view category_statistics as
select
    category.id                                            as category_id,
    category.name                                          as category,
    count(distinct course.id)                              as courses,
    count(enrollment.id)                                   as enrollments,
    count(enrollment.id) filter (where enrollment.state = 'completed') as completed,
    round(avg(enrollment.progress), 3)                     as mean_progress,
    max(enrollment.enrolled_at)                            as newest_enrollment_at
from categories category
left join courses course on course.category_id = category.id
left join enrollments enrollment on enrollment.course_id = course.id
group by category.id;
comment on materialized view category_statistics is 'For the front page; has no unique index';

-- stage: learning summary
create materialized view user_learning_summary as
select
    person.id                                              as user_id,
    person.full_name,
    count(enrollment.id)                                   as enrolled,
    count(enrollment.id) filter (where enrollment.state = 'completed') as completed,
    coalesce(sum(learned.lessons), 0)                      as lessons_completed,
    round(coalesce(sum(learned.watched_seconds), 0) / 3600.0, 1) as hours_watched,
    max(enrollment.last_activity_at)                       as last_activity_at
from users person
join enrollments enrollment on enrollment.user_id = person.id
left join (
    select enrollment_id, count(completed_at) as lessons, sum(watched_seconds) as watched_seconds
    from lesson_progress group by enrollment_id
) learned on learned.enrollment_id = enrollment.id
group by person.id;
create unique index user_learning_summary_key on user_learning_summary (user_id);
create index user_learning_summary_hours_idx on user_learning_summary (hours_watched desc);

-- stage: course performance
create materialized view course_performance as
select
    course.id                                              as course_id,
    course.title,
    course.category_id,
    coalesce(learners.enrolled, 0)                         as enrolled,
    coalesce(learners.completed, 0)                        as completed,
    round(learners.completed::numeric / nullif(learners.enrolled, 0), 3) as completion_ratio,
    opinions.mean_stars,
    coalesce(opinions.reviews, 0)                          as reviews,
    attempts.pass_ratio,
    coalesce(sales.revenue, 0)                             as revenue
from courses course
left join (select course_id, count(*) as enrolled, count(*) filter (where state = 'completed') as completed from enrollments group by course_id) learners
    on learners.course_id = course.id
left join (select course_id, round(avg(stars), 2) as mean_stars, count(*) as reviews from reviews group by course_id) opinions
    on opinions.course_id = course.id
left join (
    select lesson.course_id, round(avg(attempt.passed::int), 3) as pass_ratio
    from quiz_attempts attempt join quizzes quiz on quiz.id = attempt.quiz_id join lessons lesson on lesson.id = quiz.lesson_id
    group by lesson.course_id
) attempts on attempts.course_id = course.id
left join (
    select enrollment.course_id, sum(payment.amount) as revenue
    from billing.payments payment join enrollments enrollment on enrollment.id = payment.enrollment_id
    where payment.state = 'paid' group by enrollment.course_id
) sales on sales.course_id = course.id;
create unique index course_performance_key on course_performance (course_id);

-- stage: plain view and a forgotten one
create view active_learners as
select person.id, person.full_name, person.country, max(enrollment.last_activity_at) as last_activity_at
from users person join enrollments enrollment on enrollment.user_id = person.id
where enrollment.state = 'active' and enrollment.last_activity_at > now() - interval '7 days'
group by person.id;
create materialized view billing.monthly_revenue as
select date_trunc('month', paid_at) as month, currency, sum(amount) as revenue, count(*) as payments
from billing.payments where state = 'paid' group by 1, 2
with no data;
