"""Ctrl-C and SIGTERM: the first ends the command whatever it is doing, the second at once."""

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130
"""Exit status after Ctrl-C."""
TOLD = "nla: interrupted: what is finished is kept, run the same command to go on\n"
PATIENCE_SECONDS = 0.2
"""Interval at which it is checked whether an interruption has been lost."""


@contextmanager
def ending_at_signals() -> Iterator[None]:
    """Within this context SIGINT and SIGTERM raise KeyboardInterrupt, which also ends the context.

    Python drops what is raised in a callback of the garbage collection or in a `__del__`, and
    libraries may catch it: it is raised again until some code is handling it. A second SIGINT ends
    the process where it is. SIGINT stays ignored where it was, as in a shell's background jobs.
    """
    interruption = _Interruption()
    handlers = {signal.SIGTERM: interruption.begin, signal.SIGALRM: interruption.go_on}
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        handlers[signal.SIGINT] = interruption.begin
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_at_the_second, args=[reader], daemon=True).start()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()
        if interruption.asked:
            raise KeyboardInterrupt


class _Interruption:
    """Requested once, and raised until it takes effect."""

    def __init__(self) -> None:
        self.asked = False

    def begin(self, _number: int, _frame: Any) -> None:
        """The handler of SIGINT and SIGTERM; later signals of a supervisor change nothing."""
        if self.asked:
            return
        self.asked = True
        gc.callbacks.clear()
        sys.unraisablehook = _tell_others
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS, PATIENCE_SECONDS)
        raise KeyboardInterrupt

    def go_on(self, _number: int, _frame: Any) -> None:
        """The handler of the timer."""
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as Lightning leaves it
            signal.signal(signal.SIGINT, self.begin)
        if not _is_being_handled():
            raise KeyboardInterrupt


def _is_being_handled() -> bool:
    """Whether an `except`, `finally` or `with` further up is about to end what was interrupted."""
    error = sys.exception()
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _tell_others(dropped: Any) -> None:
    """Report errors that Python drops, as it does by default, except interruptions."""
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def _end_at_the_second(signals: socket.socket) -> None:
    """Runs in a thread, so that it works while the main thread waits outside of Python."""
    asked = 0
    with signals:
        while numbers := signals.recv(1):
            asked += numbers[0] == signal.SIGINT
            if asked == 2:
                os.write(2, TOLD.encode())
                os._exit(INTERRUPTED)
