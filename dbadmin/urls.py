"""The map of addresses."""

from django.urls import include, path

from dbadmin import views

urlpatterns = [
    path("", views.fleet, name="fleet"),
    path("accounts/", include("allauth.urls")),
    path("servers/<slug:server_name>/", views.server, name="server"),
]
