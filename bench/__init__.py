"""Speed and memory, measured beside the named peers: ``make bench``."""
