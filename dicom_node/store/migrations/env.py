"""How Alembic reaches the tables: over the connection that `Store.migrate` gives."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from dicom_node.store.schema import UtcDateTime, metadata


def _render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    # A migration must outlive the class that the schema uses today.
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes a column by copying its table.
    render_as_batch=True,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
