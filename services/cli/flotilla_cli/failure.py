"""The one error of the command: a sentence for the user, and exit code 1."""


class CommandError(Exception):
    """Something that the user can mend; the message is one line."""
