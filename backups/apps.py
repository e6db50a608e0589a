"""The app of backups and its rooms that belong to no server."""

from django.apps import AppConfig


class BackupsConfig(AppConfig):
    """Backups."""

    name = "backups"

    def ready(self) -> None:
        """Stores and keys, and policies, are settings of all servers."""
        from backups import catalogue, duties, logical, seen_stores
        from dbadmin import beats, navigation, stores
        from dbadmin.navigation import WideRoom

        beats.ABILITIES["pg_clients"] = logical.versions
        beats.ABILITIES["stores"] = seen_stores.here
        stores.register(catalogue.Keeper())
        duties.register()
        navigation.register(WideRoom("Stores", "stores", "stores.change", "", 62, group=navigation.SET_UP))
        navigation.register(
            WideRoom("Policies", "policies", "stores.change", "", 63, group=navigation.SET_UP)
        )
