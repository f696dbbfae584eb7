"""Building and reading mail, in pieces, no I/O."""
