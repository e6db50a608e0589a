"""Backups that are proven and restores that cannot destroy."""
