"""Failures of handlers (pure): their bytes, and the errors that a waiting caller gets for them."""

from perper_core.errors import ERRORS, Corrupt, FabricError, Failed, error_named
from perper_core.ports import Failure
from perper_core.values import Value, decode_value, encode_value


def error_of(failure: Failure) -> FabricError:
    """What to raise for it: the error of the closed set that it names, else Failed with its
    type."""
    details = dict(failure.details)
    if failure.type in ERRORS and failure.type != "Failed":
        return error_named(failure.type, failure.message, details)
    details.pop("type", None)
    return Failed(failure.message, type=failure.type, **details)


def failure_of(error: FabricError) -> Failure:
    """The failure that `error_of` turns back into it."""
    details = dict(error.details)
    kind = str(details.pop("type", "Failed")) if isinstance(error, Failed) else error.code
    return Failure(kind, error.message, tuple(details.items()))


def encode_failure(failure: Failure) -> bytes:
    details: list[Value] = [[name, detail] for name, detail in failure.details]
    return encode_value([failure.type, failure.message, details, failure.retry])


def decode_failure(raw: bytes) -> Failure:
    """Raises Corrupt."""
    try:
        fields = decode_value(raw)
    except FabricError as error:
        raise Corrupt("a failure does not decode") from error
    match fields:
        case [str(kind), str(message), list(pairs), bool(retry)]:
            details = []
            for pair in pairs:
                match pair:
                    case [str(name), (int() | str()) as detail]:
                        details.append((name, detail))
                    case _:
                        raise Corrupt("a failure's details")
            return Failure(kind, message, tuple(details), retry)
        case _:
            raise Corrupt("a failure")
