"""A store keeps the objects of backups: a local directory or a bucket of an S3 service."""

from backups.stores.base import Finding, Item, Store, StoreError, Unreadable, Upload

__all__ = ["Finding", "Item", "Store", "StoreError", "Unreadable", "Upload"]
