"""Why a stack does not start. Each message is one line for a person, naming the option or the part."""


class StackError(Exception):
    """The stack cannot start, or could not go on starting."""


class InvalidOptionError(StackError, ValueError):
    """An option makes no sense."""


class PortsTakenError(StackError):
    """The ports asked for are taken or out of range."""


class StateInUseError(StackError):
    """Another process runs on this state folder."""


class StateUnusableError(StackError):
    """The state folder cannot be made, or what lies there is in the way."""


class ProgramMissingError(StackError):
    """A server's wheel is not installed."""


class ZipcodesRefusedError(StackError):
    """The zipcode file could not be imported."""


class PartFailedError(StackError):
    """A part did not start. `tail` is the end of its log."""

    def __init__(self, name: str, status: str, tail: tuple[str, ...]) -> None:
        super().__init__(f"{name}: {status}")
        self.name, self.status, self.tail = name, status, tail
