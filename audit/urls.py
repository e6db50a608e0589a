"""The addresses of the audit log, below a server."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from audit import export_views, losses, seal_views, views


class TableConverter(StringConverter):
    """The name of a table may hold anything, slashes and line ends too."""

    regex = r"[\s\S]+"


register_converter(TableConverter, "table")

urlpatterns = [
    path("audit/", views.log, name="audit"),
    path("audit/statement/<int:number>/", views.statement, name="audit_statement"),
    path("audit/statement/<int:number>/<int:n>/", views.change, name="audit_change"),
    path("audit/statement/<int:number>/<int:n>/proof.json", seal_views.of_change, name="audit_proof"),
    path("audit/statement/<int:number>/<int:n>/value/", export_views.value, name="audit_value"),
    path("audit/row/<table:table>/", views.life, name="audit_row"),
    path("audit/table/<table:table>/", views.table, name="audit_table"),
    path("audit/transaction/<str:xid>/", views.transaction, name="audit_transaction"),
    path("audit/losses/", losses.losses, name="audit_losses"),
    path("audit/people/", views.people, name="audit_people"),
    path("audit/capture/", views.capture_state, name="audit_capture"),
    path("audit/capture/schedule/", views.schedule_routines, name="audit_schedule"),
    path("audit/export.<slug:kind>", export_views.export, name="audit_export"),
    path("audit/searches/", export_views.save_search, name="audit_save_search"),
    path("audit/seals/", seal_views.seals, name="audit_seals"),
    path("audit/seals/witness/", seal_views.witness, name="audit_witness"),
    path("audit/seals/script/", seal_views.script, name="audit_script"),
]
