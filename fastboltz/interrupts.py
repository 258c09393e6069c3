"""Ctrl-C while a model learns: it ends the training between two updates, or gives up a long one.

A training holds the signal back (`deferred_interrupt`), for an update that was made by halves would
leave a model that none of its updates made. What takes long in an update are sweeps, before it
changes anything: there (`look`), an update that may be given up (`may_be_given_up`) is.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, heard at a whole update."""


def after(update: int, epoch: int) -> Interrupted:
    """What to raise when a training ends after that many updates."""
    if update == 0:
        return Interrupted("interrupted before the first update; nothing was learnt.")
    return Interrupted(
        f"interrupted after update {update} (epoch {epoch}); the model keeps this update and "
        f"remains usable."
    )


class GivenUp(Interrupted):
    """Ctrl-C, heard within an update, of which nothing is left."""


class _OfThread(threading.local):
    """Attributes: the event of the training's Ctrl-C, and whether an update may be given up."""

    event: threading.Event | None = None
    may_be_given_up = False


_here = _OfThread()


@contextmanager
def deferred_interrupt(within_updates: bool = True) -> Iterator[threading.Event]:
    """Turn Ctrl-C into an event that is looked at between updates; a second one is immediate.

    Only the main thread receives signals; in other threads this does nothing.

    Parameters
    ----------
    within_updates : bool
        Whether updates may be given up for it; not where other processes wait for them.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = signal.getsignal(signal.SIGINT)
    if not callable(previous):  # ignored, or not Python's
        yield event
        return

    def handler(number: int, frame: Any) -> None:
        if event.is_set():
            previous(number, frame)
        event.set()

    outer, _here.event = _here.event, event if within_updates else None
    signal.signal(signal.SIGINT, handler)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
        _here.event = outer


@contextmanager
def may_be_given_up() -> Iterator[None]:
    """Around what an update computes before it changes anything."""
    before, _here.may_be_given_up = _here.may_be_given_up, True
    try:
        yield
    finally:
        _here.may_be_given_up = before


def has_come() -> bool:
    """Whether Ctrl-C came since this thread's training began its pass."""
    return _here.event is not None and _here.event.is_set()


def look() -> None:
    """Give up the update that this thread is in the midst of, where Ctrl-C came.

    Raises
    ------
    GivenUp
    """
    if _here.may_be_given_up and has_come():
        raise GivenUp("interrupted within an update, of which nothing is left.")
