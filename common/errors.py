"""The one exception a user is meant to read."""


class NlaError(ValueError):
    """A mistake the user can mend: one line that says what is wrong, where, and the remedy.

    The command line prints the message alone and exits with status 1; anything else is our bug and
    keeps its traceback.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str = "") -> None:
        """Join the parts to one line: `what [where]: remedy`."""
        line = what if where is None else f"{what} [{where}]"
        whole = f"{line}: {remedy}" if remedy else line
        super().__init__(" ".join(whole.split("\n")))


def first_line(error: Exception) -> str:
    """What another library's error says first, cut short, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
