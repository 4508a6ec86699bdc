"""Stores on both engines, as tests of the store have them."""

from tests.store.conftest import empty_store, postgres_url, store

__all__ = ["empty_store", "postgres_url", "store"]
