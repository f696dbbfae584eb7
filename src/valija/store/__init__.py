"""Durable state behind one port: SQLite, PostgreSQL and in-memory; the vault that encrypts secrets."""
