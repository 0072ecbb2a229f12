"""Async SQLAlchemy engines and migrations at start, for SQLite and PostgreSQL."""
