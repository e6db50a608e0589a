-- title:    Server facts
-- about:    What this server is: version, role, since when it runs, and the choices made when it was created.
-- empty:    The server said nothing about itself.
-- scope:    instance
-- every:    60s
-- column version:            as the server itself names it
-- column role:               primary, or standby while it replays the WAL of another server
-- column system_identifier:  the same on a primary and on all its standbys
-- column timeline:           a promotion starts a new one; on a standby that of its last restart point
-- column configured_at:      when the configuration files were last read
-- column data_checksums:     whether damaged pages are noticed when they are read
select
    pg_catalog.current_setting('server_version')                                 as version,
    case when pg_catalog.pg_is_in_recovery() then 'standby' else 'primary' end   as role,
    pg_catalog.pg_postmaster_start_time()                                        as started_at,
    extract(epoch from now() - pg_catalog.pg_postmaster_start_time())::float8    as uptime_seconds,
    pg_catalog.pg_conf_load_time()                                               as configured_at,
    (select system_identifier::text from pg_catalog.pg_control_system())         as system_identifier,
    (select timeline_id::text from pg_catalog.pg_control_checkpoint())           as timeline,
    pg_catalog.current_setting('max_connections')::int8                          as connections_limit_count,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers'))       as shared_buffers_bytes,
    pg_catalog.current_setting('block_size')::int8                              as block_bytes,
    pg_catalog.current_setting('wal_level')                                      as wal_level,
    pg_catalog.current_setting('data_checksums')                                 as data_checksums,
    pg_catalog.current_setting('server_encoding')                                as encoding,
    pg_catalog.current_setting('TimeZone')                                       as time_zone,
    (select count(*) from pg_catalog.pg_database where not datistemplate)        as databases_count
