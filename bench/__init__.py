"""Speed and memory, measured beside the named peers: ``make bench``."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "peers")]  # what drives the program and its real peers there
