-- title:    Functions
-- about:    How often functions of this database run and what they cost, when track_functions is on.
-- empty:    No function has been counted. Counting needs track_functions = 'pl' or 'all'.
-- scope:    database
-- every:    5m
-- key:      schema, function, function_id
-- series:   calls_total, exec_seconds_total, self_seconds_total
-- column exec_seconds_total: with what it calls
-- column self_seconds_total: without what it calls
select
    schemaname          as schema,
    funcname            as function,
    funcid              as function_id,
    calls               as calls_total,
    total_time / 1000   as exec_seconds_total,
    self_time / 1000    as self_seconds_total
from pg_catalog.pg_stat_user_functions
order by self_time desc, schema, function, function_id
limit 500
