"""Every exception of rerank_kit. Each says what happened, how we know, and what to try.

    RerankKitError
    ├── InputError              a value you passed cannot be used (also a ValueError)
    │   └── FileInputError      a file you named cannot be read as what it should be
    ├── SetupError              something is missing on this machine
    ├── DownloadError           a model hub does not give what was asked for
    ├── ServerError
    │   ├── LaunchError         the server did not come up
    │   │   ├── LaunchTimeout   ... within the time given (also a TimeoutError)
    │   │   └── LaunchStopped   ... because somebody stopped it while it started
    │   ├── PortInUseError      another program listens on the wanted port
    │   └── NoServerError       no server was named and none of ours is running
    └── RequestError
        ├── UnreachableError    nothing answers at that address
        ├── RequestTimeout      no answer in time (also a TimeoutError)
        ├── AuthError           the key is missing or wrong
        ├── WrongServerError    something answers, but it cannot rerank
        ├── BadRequestError     the server refused the request
        │   ├── RequestTooLongError   a document and its query exceed the context length
        │   └── PayloadTooLargeError  the request has more bytes than a server or proxy takes
        ├── ServerFault         the server failed inside (HTTP 5xx)
        └── ResponseError       the answer is not what a reranker sends
"""

from __future__ import annotations

from typing import Any

from rerank_kit.language import localised


class RerankKitError(Exception):
    """Base of all errors that rerank_kit raises on purpose.

    message: what happened, one sentence. evidence: the line or number that proves it.
    hint: the smallest thing to try.
    """

    kind = "error"

    def __init__(self, message: str, *, evidence: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.evidence = evidence
        self.hint = hint

    def __str__(self) -> str:
        """For people, in the language of RERANK_KIT_LANGUAGE; message and hint stay English."""
        lines = [localised(self.message)]
        if self.evidence:
            lines.append(localised(f"  evidence: {self.evidence}"))
        if self.hint:
            lines.append(localised(f"  try: {localised(self.hint)}"))
        return "\n".join(lines)

    def as_dict(self) -> dict[str, dict[str, str]]:
        """The error as the commands print it with --json."""
        body = {"kind": self.kind, "message": self.message, "hint": self.hint}
        if self.evidence:
            body["evidence"] = self.evidence
        return {"error": body}


class InputError(RerankKitError, ValueError):
    kind = "input"


class FileInputError(InputError):
    kind = "file"


def cannot_write(path: object, error: OSError) -> FileInputError:
    """A file that the user has named, or its folder, cannot be written."""
    return FileInputError(
        f"{path} cannot be written.", evidence=error.strerror or str(error),
        hint="name a folder that you may write to",
    )  # fmt: skip


class SetupError(RerankKitError):
    kind = "setup"


class DownloadError(RerankKitError):
    kind = "download"


class ServerError(RerankKitError):
    kind = "server"


class LaunchError(ServerError):
    """log_path: the whole log of the failed start; log_tail: its last lines. diagnosis: what
    the log says went wrong (rerank_kit.server.diagnosis.Diagnosis), where there is a log."""

    kind = "launch"

    def __init__(
        self,
        message: str,
        *,
        evidence: str = "",
        hint: str = "",
        log_path: str = "",
        log_tail: str = "",
        diagnosis: Any = None,
    ) -> None:
        super().__init__(message, evidence=evidence, hint=hint)
        self.log_path = log_path
        self.log_tail = log_tail
        self.diagnosis = diagnosis


class LaunchTimeout(LaunchError, TimeoutError):
    kind = "launch_timeout"


class LaunchStopped(LaunchError):
    kind = "launch_stopped"


class PortInUseError(ServerError):
    kind = "port_in_use"


class NoServerError(ServerError):
    kind = "no_server"


class RequestError(RerankKitError):
    kind = "request"


class UnreachableError(RequestError):
    kind = "unreachable"


class RequestTimeout(RequestError, TimeoutError):
    kind = "timeout"


class AuthError(RequestError):
    kind = "auth"


class WrongServerError(RequestError):
    kind = "wrong_server"


class BadRequestError(RequestError):
    kind = "bad_request"


class RequestTooLongError(BadRequestError):
    kind = "request_too_long"


class PayloadTooLargeError(BadRequestError):
    kind = "payload_too_large"


class ServerFault(RequestError):
    kind = "server_fault"


class ResponseError(RequestError):
    kind = "response"
