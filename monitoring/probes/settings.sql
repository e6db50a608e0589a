-- title:    Settings
-- about:    Every setting, those that were changed from the default first.
-- empty:    The server shows no setting.
-- scope:    instance
-- needs:    pg_monitor
-- every:    15m
-- key:      name
-- warning:  pending_count > 0
-- column pending_count: 1 when the file says otherwise and a restart is needed
-- column value:         what a new session of our role gets; empty where each client chooses
-- column source:        where the value comes from; empty where our own session has set another
-- column file:          file and line that set it; empty unless this role may know
select
    name,
    in_force || coalesce(' ' || nullif(unit, ''), '')       as value,
    default_val || coalesce(' ' || nullif(unit, ''), '')    as built_in,
    case when source <> 'client' then in_force is distinct from default_val end as is_changed,
    pending_restart::int                                    as pending_count,
    case when source <> 'session' then source when in_force is not distinct from default_val then 'default' end as source,
    context                                                 as changeable_by,
    category,
    sourcefile || ':' || sourceline                         as file,
    short_desc                                              as meaning
from (
    -- Our own session sets limits for itself: what others get is what a reset would give.
    select *, case source when 'client' then null when 'session' then reset_val else setting end as in_force,
        -- Permissions are shown in octal digits, but their default is kept in decimal ones.
        case when name in ('unix_socket_permissions', 'log_file_mode', 'data_directory_mode')
            then '0' || boot_val::int / 64 || boot_val::int / 8 % 8 || boot_val::int % 8
            else boot_val end as default_val
    from pg_catalog.pg_settings
) as setting
order by pending_restart desc, in_force is not distinct from default_val or source = 'override', category, name
