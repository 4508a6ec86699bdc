"""Alembic's entry: runs the revisions on the connection that `store.upgrade` hands in."""

from alembic import context

from triage_node.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
