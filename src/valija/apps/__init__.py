"""The daemon, its composition root, and its faces."""
