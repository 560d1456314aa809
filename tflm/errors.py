"""Exceptions whose message is shown to the user without a traceback."""


class UserError(ValueError):
    """Invalid user data or settings. The message says what was found, what was expected and what to do.

    An app prints only the message and exits with status 1.
    """


class UsageError(UserError):
    """An invalid command line. An app prints only the message and exits with status 2."""
