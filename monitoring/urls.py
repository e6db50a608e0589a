"""Addresses of monitoring below a server."""

from django.urls import path

from monitoring import views

urlpatterns = [
    path("queries/", views.queries, name="queries"),
    path("queries/<int:line>/", views.statement, name="statement"),
]
