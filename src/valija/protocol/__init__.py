"""SMTP, POP3 and SASL dialogs as state machines: bytes in, bytes and events out, no I/O."""
