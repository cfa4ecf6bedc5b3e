"""Schema migrations (alembic), shipped in the wheel."""
