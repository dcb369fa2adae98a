"""The one loop for whatever comes true by itself; its bounds only keep a broken test from hanging."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

SECONDS = 60.0
PAUSE = 0.03


def turns(seconds: float = SECONDS, pause: float = PAUSE) -> Iterator[None]:
    """Moments to look, ``pause`` seconds apart and one at least; they end when ``seconds`` are over."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(pause)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Look until ``condition`` holds. Raises AssertionError with ``what`` if it does not."""
    assert any(condition() for _ in turns(seconds)), what
