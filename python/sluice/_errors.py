"""The one exception of this package."""


class Error(RuntimeError):
    """What went wrong, naming the thing, both values, and what to do.

    ``kind`` says who has to act: "user" (the caller), "checkpoint" (whoever wrote the file),
    "unsupported" (nobody: the combination is not supported here), "device" (whoever looks after the
    machine), "internal" (a backend, or this package).
    """

    kind: str

    def __init__(self, message: str, kind: str = "user") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self):
        return (type(self), (str(self), self.kind))


Error.__module__ = "sluice"
