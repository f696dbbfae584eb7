"""The command line: a client of the daemon, and the command that runs it."""
