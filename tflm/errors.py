"""Exceptions whose message is shown to the user without a traceback."""


class UserError(ValueError):
    """Invalid user data or settings. The message says what was found, what was expected and what to do.

    An app prints only the message and exits with status 1.
    """


class UsageError(UserError):
    """An invalid command line. An app prints only the message and exits with status 2."""


class Interrupted(Exception):
    """A signal ended the work after its state was saved; the same call continues.

    An app prints only the message and exits with status 75 (EX_TEMPFAIL of sysexits.h: try again later).

    Attributes:
        signal: name of the signal, such as "SIGTERM".
        step: int, of the saved state.
    """

    def __init__(self, message: str, signal: str = "", step: int = 0) -> None:
        super().__init__(message)
        self.signal, self.step = signal, step
