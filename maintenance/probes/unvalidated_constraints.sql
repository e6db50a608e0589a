-- title:    Unvalidated constraints
-- about:    Constraints that hold for new rows only: nobody has checked the rows that were there before.
-- empty:    Every constraint has been checked against all rows.
-- scope:    database
-- every:    1h
-- series:   rows
-- actions:  validate_constraint(schema, table, constraint)
-- column heap_bytes: what validating has to read
-- column kind:       what it demands
select
    space.nspname                                                               as schema,
    owner.relname                                                               as table,
    demand.conname                                                              as constraint,
    case demand.contype when 'f' then 'foreign key' when 'c' then 'check' when 'n' then 'not null' end as kind,
    case when demand.contype = 'f' then other_space.nspname || '.' || other.relname end as refers_to,
    case when owner.relkind = 'r'
        then (greatest(owner.relpages, 0) * pg_catalog.current_setting('block_size')::int8)::int8 end as heap_bytes
from pg_catalog.pg_constraint demand
join pg_catalog.pg_class owner on owner.oid = demand.conrelid
join pg_catalog.pg_namespace space on space.oid = owner.relnamespace
left join pg_catalog.pg_class other on other.oid = demand.confrelid
left join pg_catalog.pg_namespace other_space on other_space.oid = other.relnamespace
where not demand.convalidated and demand.conparentid = 0 and owner.relkind in ('r', 'p')
    -- What is not enforced (PostgreSQL 18) holds for no row, and cannot be validated.
    and coalesce((to_jsonb(demand) ->> 'conenforced')::bool, true)
    and space.nspname not in ('pg_catalog', 'information_schema')
order by heap_bytes desc nulls last, schema, "table", "constraint"
