"""The rooms of the audit log."""

from dbadmin.pages import Page

PAGES = [
    Page(
        "audit",
        "Audit log",
        group="Prove",
        permission="audit.view",
        url_name="audit",
        order=70,
        about="Who changed what, when and from where: each change of the watched tables, before and after.",
    ),
]
