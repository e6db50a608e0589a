"""Point in time: base backups, a stream of WAL beside them, and recoveries to any moment between."""
