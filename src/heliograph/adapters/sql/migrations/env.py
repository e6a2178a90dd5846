"""Run by Alembic: the connection comes from :mod:`heliograph.adapters.sql.schema`."""

from alembic import context

from heliograph.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
