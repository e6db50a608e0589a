-- What learners pay.

-- stage: payments and coupons
select setseed(0.99);
insert into billing.coupons (code, percent, valid, courses)
select upper(pg_temp.one_of('{spring,summer,autumn,winter,friends,welcome,back}')) || number, (array[10, 10, 15, 20, 25, 50])[1 + floor(random() * 6)::int],
    daterange(current_date - floor(random() * 400)::int, current_date + floor(random() * 90)::int),
    case when random() < 0.5 then '{}' else array[1 + floor(random() * 100)::int, 1 + floor(random() * 100)::int] end
from generate_series(1, 60) as number;
insert into billing.payments (enrollment_id, user_id, amount, tax_rate, currency, method, state, coupon, details, created_at, paid_at)
select id, user_id, amount, (array[0.19, 0.20, 0.21, 0.07])[1 + user_id % 4], (array['EUR', 'EUR', 'EUR', 'USD', 'GBP'])[1 + user_id % 5],
    method, state::billing.payment_state, coupon,
    jsonb_build_object('invoice', 'A-' || id, 'attempts', 1 + floor(random() * 1.2)::int, 'card', case when method = 'card' then 'ends with ' || 1000 + id % 9000 end),
    enrolled_at, case when state in ('paid', 'refunded') then enrolled_at + make_interval(secs => 20 + 400 * power(random(), 3)) end
from (
    select enrollment.id, enrollment.user_id, enrollment.enrolled_at, course.price * (100 - coalesce(coupon.percent, 0)) / 100 as amount, coupon.code as coupon,
        pg_temp.one_of('{card,card,card,card,paypal,paypal,transfer,invoice}') as method,
        case when random() < 0.93 then 'paid' when random() < 0.5 then 'failed' when random() < 0.6 then 'refunded' else 'pending' end as state
    from enrollments enrollment
    join courses course on course.id = enrollment.course_id and not course.is_free
    left join lateral (select code, percent from billing.coupons where enrollment.id % 7 = 0 offset enrollment.id % 60 limit 1) coupon on true
) sales;

-- stage: the old shop
insert into "Legacy Import 2023" ("User Id", "E-Mail", "Paid (EUR)", "select", "imported at")
select number, 'customer' || number || '@example.net', replace((19 + number % 80)::text || '.90', '.', ','), case when number % 3 = 0 then 'x' end, date '2023-06-01'
from generate_series(1, pg_temp.scaled(30000)) as number;
