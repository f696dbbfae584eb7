"""A hundred thousand messages that wait: the gateway goes on, and what waits leaves in order."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from quick_sender import Client, code
from running_gateway import OPERATOR, ORIGIN, RunningGateway, upstream_fixture
from upstream import Upstream

from valija.domain.account_gate import hold
from valija.domain.queue import RecipientStateName
from valija.domain.queued_message import QueuedMessage, QueuedRecipient
from valija.store.queue_port import Body

upstream = upstream_fixture
WAITING = 100_000
AT_ONCE = 5_000
