"""The rooms of backups in the navigation of a server."""

from dbadmin.pages import Page

PAGES = [
    Page("backups", "Backups", group="Safety", permission="backups.view", url_name="backups", order=16),
    Page(
        "restore",
        "Restore",
        group="Safety",
        permission="backups.restore_backup",
        url_name="restore",
        order=17,
    ),
    Page(
        "recovery", "Point in time", group="Safety", permission="backups.view", url_name="recovery", order=18
    ),
]
