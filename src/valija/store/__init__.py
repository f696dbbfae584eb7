"""Durable state behind one port: SQLite and in-memory; the vault that encrypts secrets."""
