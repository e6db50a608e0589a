-- title:    Row security
-- about:    Tables that show each role its own rows only, with their policies.
-- empty:    No table has policies or row security.
-- scope:    database
-- judged:   primary
-- every:    1h
-- key:      schema, table
-- warning:  ineffective_count > 0
-- column state:             on, on for the owner too, or off
-- column ineffective_count: 1 when it has policies that do nothing because row security is off
-- column policies:          names of its policies; with row security on and no policy nobody but the owner sees a row
select
    space.nspname                                                               as schema,
    relation.relname                                                            as table,
    case when relation.relrowsecurity and relation.relforcerowsecurity then 'on for the owner too'
        when relation.relrowsecurity then 'on' else 'off' end                   as state,
    count(policy.oid)                                                           as policies_count,
    (count(policy.oid) > 0 and not relation.relrowsecurity)::int                as ineffective_count,
    array_agg(policy.polname order by policy.polname) filter (where policy.oid is not null) as policies,
    pg_catalog.pg_get_userbyid(relation.relowner)                               as owner
from pg_catalog.pg_class relation
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
left join pg_catalog.pg_policy policy on policy.polrelid = relation.oid
where relation.relkind in ('r', 'p') and relation.relpersistence <> 't'
    and space.nspname not in ('pg_catalog', 'information_schema')
group by relation.oid, space.nspname, relation.relname, relation.relrowsecurity, relation.relforcerowsecurity, relation.relowner
having relation.relrowsecurity or count(policy.oid) > 0
order by ineffective_count desc, schema, "table"
