-- What can be learned: categories, courses, lessons and quizzes.

-- stage: categories
insert into categories (slug, name, position)
select lower(replace(name, ' ', '-')), name, position
from unnest('{Programming,Data,Design,Business,Languages,Science,Arts,Health}'::text[]) with ordinality as parent (name, position);
insert into categories (parent_id, slug, name, position)
select parent.id, lower(replace(child.name, ' ', '-')), child.name, child.position
from (values
    ('Programming', '{Python,Web Development,Databases,Mobile Apps,Systems}'::text[]), ('Data', '{Statistics,Machine Learning,Visualisation}'),
    ('Design', '{Interfaces,Typography,Photography}'), ('Business', '{Accounting,Leadership,Marketing}'),
    ('Languages', '{German,Spanish,Japanese,English}'), ('Science', '{Physics,Biology,Astronomy}'),
    ('Arts', '{Music,Drawing,Creative Writing}'), ('Health', '{Nutrition,Sleep and Stress}')
) as tree (parent_name, children)
join categories parent on parent.name = tree.parent_name,
unnest(children) with ordinality as child (name, position);

-- stage: courses
select setseed(0.22);
insert into courses (category_id, teacher_id, slug, title, summary, level, language, tags, price, state, duration, published_at, created_at)
select
    category.id,
    1 + floor(pg_temp.scaled(60, 0.5) * power(random(), 1.6))::int,
    lower(regexp_replace(title, '[^A-Za-z]+', '-', 'g')) || '-' || course,
    title,
    pg_temp.one_of(array['Learn ', 'Understand ', 'Get a firm grip on ', 'Take the next step in ']) || category.name
        || pg_temp.one_of(array[' by doing: ten small projects and one of your own.', ' with a teacher who answers every question within a day.',
            ', from the first hour to work that you can show.', ' in short lessons that fit between two meetings.',
            ', without hurry and without gaps. Every chapter ends with a quiz.']),
    level::course_level,
    pg_temp.one_of('{en,en,en,en,de,es,fr}'),
    array[category.slug, level, pg_temp.one_of('{project,theory,certificate,weekend,evening}')],
    (array[0, 0, 19, 29, 29, 39, 49, 49, 79, 149])[1 + floor(random() * 10)::int],
    case when random() < 0.05 then 'draft' when random() < 0.04 then 'retired' else 'published' end::course_state,
    make_interval(hours => 3 + floor(random() * 40)::int),
    now() - interval '410 days' * power(random(), 0.7),
    now() - interval '420 days'
from (
    select course, category.id, category.name, category.slug, pg_temp.one_of('{beginner,beginner,beginner,intermediate,intermediate,advanced}') as level
    from generate_series(1, pg_temp.scaled(300, 0.5)) as course
    join categories category on category.id = 9 + floor(power(((course * 7919) % 1000) / 1000.0, 1.5) * 26)::int
) category,
lateral (select case level
    when 'beginner' then pg_temp.one_of(array['First Steps in ', 'An Invitation to ', 'The Calm Introduction to ', 'Thirty Days of ']) || name
    when 'intermediate' then pg_temp.one_of(array['Practical ', 'Everyday ', 'The Working Week with ', 'Better ']) || name
    else pg_temp.one_of(array['Mastering ', 'The Deep End of ', 'A Seminar on ', 'Advanced ']) || name end as title) titles;

-- stage: lessons and quizzes
select setseed(0.33);
insert into lessons (course_id, position, title, kind, body, duration_seconds, video_url)
select
    course.id, position,
    pg_temp.one_of('{What,Why,How,When,A closer look,Exercise,Common mistakes,In practice,Behind the scenes,Recap}') || ': '
        || pg_temp.one_of('{the idea,first examples,tools,a small project,words and terms,the history,patterns,limits,measuring,sharing your work}'),
    case when position % 4 = 0 then 'quiz' when random() < 0.6 then 'video' when random() < 0.6 then 'reading' else 'exercise' end::lesson_kind,
    repeat(pg_temp.one_of(array['Read the example slowly, then change one thing and see what happens. ',
        'There is no need to learn this by heart: you will meet it again in the next chapter. ',
        'Write down what you expect before you look at the answer. ']), 2 + floor(random() * 25)::int),
    120 + floor(1500 * power(random(), 2))::int,
    case when random() < 0.6 then 'https://video.example.org/' || md5(course.id || '/' || position) end
from courses course, generate_series(1, 4 + (course.id * 37) % 13) as position;

insert into quizzes (lesson_id, title, pass_mark, questions)
select lesson.id, 'Quiz after lesson ' || lesson.position, (array[50, 60, 60, 60, 75])[1 + floor(random() * 5)::int],
    (select jsonb_agg(jsonb_build_object('question', 'Question ' || number, 'choices', 4, 'right', floor(random() * 4)::int, 'points', 10))
     from generate_series(1, 5 + lesson.id % 6) as number)
from lessons lesson where lesson.kind = 'quiz';
