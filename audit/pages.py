"""The rooms of the audit log."""

from dbadmin.pages import Page

PAGES = [
    Page(
        "audit",
        "Audit log",
        group="Safety",
        permission="audit.view",
        url_name="audit",
        order=18,
        about="Who changed what, when and from where: each change of the watched tables, before and after.",
    ),
]
