"""The exceptions that a user is meant to read: a message, no traceback."""


class UserError(ValueError):
    """The user's data or settings are wrong. The message says what came, what was expected, what to do.

    An app prints the message alone and exits with 1.
    """


class UsageError(UserError):
    """A command line that cannot be carried out. An app prints the message alone and exits with 2."""
