"""Addresses of monitoring below a server."""

from django.urls import path

from monitoring import views

urlpatterns = [
    path("queries/", views.queries, name="queries"),
    path("queries/<str:ident>/", views.statement, name="statement"),
]
