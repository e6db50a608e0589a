-- Session-local means of the loader: how big, which words, which hours. They vanish with the connection.

-- sample.scale is set by the loader; what is a catalogue grows with the root of it.
create function pg_temp.scaled(rows_at_one numeric, exponent numeric default 1) returns integer language sql stable as
$$ select greatest(3, round(rows_at_one * power(current_setting('sample.scale')::numeric, exponent)))::integer $$;

create function pg_temp.one_of(words text[]) returns text language sql volatile as
$$ select words[1 + floor(random() * cardinality(words))::int] $$;

-- People learn before work, at noon and above all in the evening.
create function pg_temp.time_of_day() returns interval language sql volatile as
$$ select make_interval(
    hours => (array[0,1,5,6,6,7,7,7,8,8,8,8,9,9,9,9,10,10,10,11,11,11,12,12,12,12,12,13,13,13,14,14,14,15,15,15,16,16,16,17,17,17,
        18,18,18,18,19,19,19,19,19,19,20,20,20,20,20,20,20,21,21,21,21,21,22,22,22,23])[1 + floor(random() * 68)::int],
    secs => random() * 3599) $$;

-- A moment between two others, drawn to the beginning when pull > 1, at an hour and on a day when people are awake.
create function pg_temp.moment(since timestamptz, until timestamptz, pull float8 default 1)
returns timestamptz language plpgsql volatile as $$
declare
    span float8 := extract(epoch from until - since);
    moment timestamptz := since + make_interval(secs => span * power(random(), pull));
begin
    if extract(isodow from moment) > 5 and random() < 0.45 then
        moment := moment - interval '2 days';
    end if;
    moment := date_trunc('day', moment) + pg_temp.time_of_day();
    if moment < since or moment > until then
        moment := since + make_interval(secs => span * power(random(), pull));
    end if;
    return moment;
end $$;
