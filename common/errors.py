"""The one exception that is written for the user."""


class NlaError(ValueError):
    """A mistake the user can correct: one line that says what is wrong, where, and the remedy.

    The command line prints the message alone and exits with status 1; anything else is our bug and
    keeps its traceback.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str = "") -> None:
        """Join the parts to one line: `what [where]: remedy`."""
        line = what if where is None else f"{what} [{where}]"
        whole = f"{line}: {remedy}" if remedy else line
        super().__init__(" ".join(whole.split("\n")))


def first_line(error: Exception) -> str:
    """First line of another library's error, cut short, or its class name if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
