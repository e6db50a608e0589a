-- title:    Settings
-- about:    Every setting, those that were changed from the default first.
-- empty:    The server shows no setting.
-- scope:    instance
-- needs:    pg_monitor
-- every:    15m
-- key:      name
-- warning:  pending_count > 0
-- column pending_count: 1 when the file says otherwise and a restart is needed
-- column source:        where the value comes from
-- column file:          file and line that set it; empty unless this role may know
select
    name,
    setting || coalesce(' ' || nullif(unit, ''), '')        as value,
    boot_val || coalesce(' ' || nullif(unit, ''), '')       as built_in,
    setting is distinct from boot_val                       as is_changed,
    pending_restart::int                                    as pending_count,
    source,
    context                                                 as changeable_by,
    category,
    sourcefile || ':' || sourceline                         as file,
    short_desc                                              as meaning
from pg_catalog.pg_settings
where source not in ('client', 'session')
order by pending_restart desc, source in ('default', 'override'), category, name
