"""Run by Alembic for each command; the connection and its transaction are the caller's."""

from alembic import context

from receiver.web.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter columns
)
with context.begin_transaction():
    context.run_migrations()
