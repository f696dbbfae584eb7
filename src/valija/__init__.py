"""Valija: the mail subsystem of an office machine, with OAuth 2.0 tokens."""

__version__ = "0.1.0"
