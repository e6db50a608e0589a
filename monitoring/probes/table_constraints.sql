-- title:    Constraints
-- about:    What its rows must hold, and which other tables refer to it. The words of a check are not waited for while the table is locked.
-- empty:    Nothing is demanded of its rows, and no table refers to it.
-- scope:    database
-- params:   schema, table
-- actions:  validate_constraint(schema, table, constraint=unchecked)
-- column table:        the one that the constraint belongs to
-- column is_validated: false: it holds for new rows only; empty: it is not enforced, and holds for none
-- column unchecked:    its name when the rows that were there before can be checked
select
    space.nspname                                                               as schema,
    owner.relname                                                               as table,
    demand.conname                                                              as constraint,
    case when demand.conrelid <> chosen.oid then 'referenced by a foreign key'
        else case demand.contype when 'p' then 'primary key' when 'u' then 'unique' when 'f' then 'foreign key'
            when 'c' then 'check' when 'x' then 'exclusion' when 'n' then 'not null' else 'trigger' end end as kind,
    pg_catalog.pg_get_constraintdef(demand.oid)                                 as definition,
    case when enforced then demand.convalidated end                             as is_validated,
    demand.condeferrable                                                        as is_deferrable,
    case when enforced and not demand.convalidated and demand.conparentid = 0 then demand.conname end as unchecked
from pg_catalog.pg_class chosen
join pg_catalog.pg_namespace here on here.oid = chosen.relnamespace
join pg_catalog.pg_constraint demand
    on demand.conrelid = chosen.oid or demand.confrelid = chosen.oid and demand.conparentid = 0
cross join lateral (select coalesce((to_jsonb(demand) ->> 'conenforced')::bool, true)) as known (enforced)
join pg_catalog.pg_class owner on owner.oid = demand.conrelid
join pg_catalog.pg_namespace space on space.oid = owner.relnamespace
where here.nspname = %(schema)s::text and chosen.relname = %(table)s::text
    -- What must not be null is told with its column, unless nobody has checked the rows that were there before.
    and (demand.contype <> 'n' or not demand.convalidated)
order by demand.conrelid <> chosen.oid, position(demand.contype::text in 'pucxfnt'), schema, "table", "constraint"
limit 500
