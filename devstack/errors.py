"""Defines the errors of a stack that does not start. Each message is one line that names the option or the
part."""


class StackError(Exception):
    """The stack cannot start."""


class InvalidOptionError(StackError, ValueError):
    """An option has an invalid value."""


class PortsTakenError(StackError):
    """The requested ports are in use or out of range."""


class StateInUseError(StackError):
    """Another process uses this state folder."""


class StateUnusableError(StackError):
    """The state folder cannot be created, or contains other files."""


class ProgramMissingError(StackError):
    """The wheel of a server is not installed."""


class ZipcodesRefusedError(StackError):
    """The zipcode file could not be imported."""


class PartFailedError(StackError):
    """A part of the stack did not start. `tail` is the end of its log."""

    def __init__(self, name: str, status: str, tail: tuple[str, ...]) -> None:
        super().__init__(f"{name}: {status}")
        self.name, self.status, self.tail = name, status, tail
