"""Addresses of the rooms of backups, and of their settings."""

from django.urls import path

from backups import (
    key_views,
    policy_views,
    recovered_views,
    recovery_views,
    restore_views,
    row_views,
    store_views,
    views,
)

urlpatterns = [
    path("backups/", views.catalogue, name="backups"),
    path("backups/<int:pk>/", views.backup, name="backup"),
    path("backups/<int:pk>/kit/", views.recovery_kit, name="recovery_kit"),
    path("backups/<int:pk>/keep/", views.keep, name="keep_backup"),
    path("backups/<int:pk>/download/<str:piece>/", views.download, name="download_backup"),
    path("restore/", restore_views.restore, name="restore"),
    path("restored-tables/<int:pk>/", row_views.side_schema, name="side_schema"),
    path("restored-rows/<int:pk>/", row_views.row_comparison, name="row_comparison"),
    path("recovery/", recovery_views.recovery, name="recovery"),
    path("recovery/<int:pk>/kit/", recovery_views.base_kit, name="base_kit"),
    path("recovered/<int:pk>/", recovered_views.recovered, name="recovered"),
    path("recovered/<int:pk>/rows/", recovered_views.recovered_rows, name="recovered_rows"),
]

settings_urlpatterns = [
    path("stores/", store_views.stores, name="stores"),
    path("stores/add/", store_views.add, name="store_add"),
    path("stores/<slug:name>/", store_views.change, name="store"),
    path("stores/<slug:name>/reread/", store_views.reread, name="store_reread"),
    path("policies/", policy_views.policies, name="policies"),
    path("policies/add/", policy_views.edit, name="policy_add"),
    path("policies/<slug:name>/", policy_views.edit, name="policy"),
    path("policies/<slug:name>/stores/", policy_views.stores, name="policy_stores"),
    path("policies/<slug:name>/remove/", policy_views.remove, name="policy_remove"),
    path("backup-keys/", key_views.keys, name="backup_keys"),
    path("backup-keys/<slug:name>/", key_views.change, name="backup_key"),
]
