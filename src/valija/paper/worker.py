"""The process that opens what came from outside: ``python -m valija.paper.worker MEMORY FILE`` (octets).

A request is a JSON line ``{"operation", "arguments", "processor_s"}``; answered by lines ``{"progress": [done, of]}`` and at
last one ``{"found": {...}}`` or ``{"problem": reason, "words": text}``.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
from typing import Any, Final, TextIO

from valija.paper.refusal import Operation, Refused

FILES_LIMIT: Final = 64
WORDS_LIMIT: Final = 200
_FOLDERS: Final = re.compile(r"(?:/[^/'\"\n]+)+/")


def limit(memory: int, file: int) -> None:
    """Limit this process for good."""
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_NOFILE, FILES_LIMIT),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def limit_processor(seconds: int) -> None:
    """Allow so many seconds of processor time from now on; more ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _words_of(error: Exception) -> str:
    """Return what a decoder says, which a sender may be told, without where a file lies."""
    return _FOLDERS.sub("", str(error))


def answer(request: dict[str, Any], operations: dict[str, Operation], out: TextIO) -> None:
    """Do what is asked; say what came of it."""

    def say(**line: Any) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    try:
        limit_processor(request["processor_s"])
        found = operations[request["operation"]](lambda done, of: say(progress=[done, of]), **request["arguments"])
    except Refused as refused:
        say(problem=refused.reason, words=refused.words[:WORDS_LIMIT])
    except MemoryError:
        say(problem="paper_too_hard", words="memory")
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            say(problem="disk_full", words="")
        elif error.errno == 27:  # EFBIG
            say(problem="paper_too_hard", words="file size")
        else:  # what decoders say of files that are damaged
            say(problem="paper_unreadable", words=_words_of(error)[:WORDS_LIMIT])
    except Exception as error:  # decoders raise whatever they like about damaged files
        say(problem="paper_unreadable", words=f"{type(error).__name__}: {_words_of(error)}"[:WORDS_LIMIT])
    else:
        say(found=found)


def main() -> None:
    """Serve until the input ends, or the daemon kills it: who stops all of a machine's processes stops the daemon."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    limit(int(sys.argv[1]), int(sys.argv[2]))
    from valija.paper.operations import OPERATIONS  # under the limits, since it brings the decoders

    for line in sys.stdin:
        answer(json.loads(line), OPERATIONS, sys.stdout)


if __name__ == "__main__":
    main()
