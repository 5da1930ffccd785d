"""Alembic migrations, applied by `layeron-job migrate`."""
