"""What the machine knows: accounts, token states, settings, errors; no I/O, no clock."""
