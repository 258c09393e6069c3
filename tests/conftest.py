"""What every test can rely on."""

import signal


def pytest_configure():
    # Shells start background jobs with Ctrl-C ignored, and Python leaves it at that: no test could
    # raise it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
