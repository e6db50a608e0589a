-- title:    Foreign keys without index
-- about:    Deleting or changing a row of the referenced table has to read the whole referencing table, once for each row.
-- empty:    Every foreign key has an index that serves it.
-- scope:    database
-- every:    1h
-- timeout:  10s
-- series:   rows
-- actions:  create_index(schema, table, columns)
-- column columns:              an index that begins with these, in any order and without a condition, would serve
-- column referenced_changes_total: rows deleted from and updated in the referenced table: what each of them costs
-- column heap_bytes:           what is read each time
-- column scans_total:          sequential reads of the referencing table
select
    space.nspname                                                                      as schema,
    owner.relname                                                                      as table,
    reference.conname                                                                  as constraint,
    (select string_agg(part.attname, ', ' order by key.place)
     from unnest(reference.conkey) with ordinality key (number, place)
     join pg_catalog.pg_attribute part on part.attrelid = owner.oid and part.attnum = key.number) as columns,
    other_space.nspname || '.' || other.relname                                        as refers_to,
    case when other.relkind = 'r' then pg_catalog.pg_stat_get_tuples_deleted(other.oid)
        + pg_catalog.pg_stat_get_tuples_updated(other.oid) end                         as referenced_changes_total,
    case when owner.relkind = 'r'
        then (greatest(owner.relpages, 0) * pg_catalog.current_setting('block_size')::int8)::int8 end as heap_bytes,
    case when owner.relkind = 'r' then pg_catalog.pg_stat_get_numscans(owner.oid) end  as scans_total
from pg_catalog.pg_constraint reference
join pg_catalog.pg_class owner on owner.oid = reference.conrelid
join pg_catalog.pg_namespace space on space.oid = owner.relnamespace
join pg_catalog.pg_class other on other.oid = reference.confrelid
join pg_catalog.pg_namespace other_space on other_space.oid = other.relnamespace
where reference.contype = 'f' and reference.conparentid = 0
    -- What is not enforced (PostgreSQL 18) is looked up for no row.
    and coalesce((to_jsonb(reference) ->> 'conenforced')::bool, true)
    and space.nspname not in ('pg_catalog', 'information_schema')
    and not exists (
        select from pg_catalog.pg_index detail
        where detail.indrelid = reference.conrelid and detail.indisvalid
            -- A condition that the columns are not null still serves: such rows reference nothing.
            and (detail.indpred is null
                or detail.indpred::text ~ '^\{NULLTEST :arg \{VAR [^{}]*\} :nulltesttype 1 ')
            and detail.indnkeyatts >= cardinality(reference.conkey)
            and (detail.indkey::int2[])[0:cardinality(reference.conkey) - 1] <@ reference.conkey
            and reference.conkey <@ (detail.indkey::int2[])[0:cardinality(reference.conkey) - 1])
order by referenced_changes_total desc nulls last, heap_bytes desc nulls last, schema, "table", "constraint"
