"""Defines how a command ends with an error: its exit status, and one line or one JSON object that says what
happened and what to do.

With `--json`, the object goes to standard output; otherwise the line goes to standard error.
"""

import traceback
from enum import IntEnum

import typer

DEBUG_VARIABLE = "ZIPCAST_DEBUG"
"""If this environment variable is set, a command shows the traceback of an unexpected error."""


class Status(IntEnum):
    """The exit statuses of all commands."""

    OK = 0
    FAILED = 1
    USAGE = 2
    """An option, an argument, a setting or a wallet is wrong."""
    REFUSED = 3
    """The service refused the request, or rows of a file were rejected."""
    UNAVAILABLE = 4
    """The service, its object store or the local stack does not reply. Trying again may help."""
    NOT_VERIFIED = 5
    """A signature or certificate is not valid, or a rule is broken."""
    INTERRUPTED = 130


class CommandError(typer.TyperException):
    """Ends a command. `code` is for programs, `remedy` says what to do."""

    def __init__(
        self,
        message: str,
        status: int = Status.FAILED,
        *,
        code: str = "failed",
        remedy: str = "",
        request_id: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(" ".join(message.splitlines()))
        self.exit_code = int(status)
        self.code, self.remedy = code, remedy
        self.request_id, self.retry_after_seconds = request_id, retry_after_seconds

    @property
    def line(self) -> str:
        """Return code, message, remedy and request id as one line."""
        ended = self.message.endswith((".", "?", "!")) or not self.remedy
        message = self.message if ended else f"{self.message}."
        request = "" if self.request_id is None else f"(request id {self.request_id})"
        return " ".join(part for part in (message, self.remedy, request) if part)

    @property
    def document(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {
            "success": False,
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy or None,
            "requestId": self.request_id,
            "retryAfterSeconds": self.retry_after_seconds,
            "exitStatus": self.exit_code,
        }


def usage_error(error: typer.TyperException) -> CommandError:
    """Return typer's own error, for example about an unknown option, as a CommandError."""
    context = getattr(error, "ctx", None)
    command = "zipcast" if context is None else context.command_path
    text = " ".join(error.format_message().split())
    return CommandError(text, error.exit_code, code="usage", remedy=f"See `{command} --help`.")


def defect(error: Exception) -> CommandError:
    """Return an error that no command expects, with the place where it was raised."""
    *_, place = traceback.extract_tb(error.__traceback__)
    return CommandError(
        f"unexpected {type(error).__name__} at {place.filename}:{place.lineno}: {error}".removesuffix(": "),
        code="internal",
        remedy=f"Please report this as a defect of Zipcast. With {DEBUG_VARIABLE}=1, the command shows more.",
    )


def show_error(error: typer.TyperException, *, as_json: bool) -> int:
    """Print an error, and return the exit status."""
    from zipcast.cli.console import echo_json, err

    shown = error if isinstance(error, CommandError) else usage_error(error)
    if as_json:
        echo_json(shown.document)
    else:
        err.print(shown.line, style="red", soft_wrap=True)
    return shown.exit_code


def asks_for_json(arguments: list[str]) -> bool:
    """Return whether the command line has `--json`, even if other parts of the command line are wrong."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options
