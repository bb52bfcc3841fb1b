"""The one way in which a delivery does not work."""


class Undelivered(Exception):  # noqa: N818 - a state to wait in, not a fault of the program
    """The destination did not answer, or did not take an object: try again later.

    ``reason``: a sentence for the operator, without patient data.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
