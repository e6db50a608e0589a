"""The rooms of backups in the navigation of a server."""

from dbadmin.pages import Page

PAGES = [
    Page("backups", "Backups", group="Keep", permission="backups.view", url_name="backups", order=60),
    Page(
        "restore", "Restore", group="Keep", permission="backups.restore_backup", url_name="restore", order=61
    ),
]
