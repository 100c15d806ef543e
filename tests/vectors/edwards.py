"""Just enough of edwards25519 to make signatures that honest libraries never make. Not for keys.

Points are (x, y) modulo P; slow and plain on purpose (RFC 8032 §5.1).
"""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, P) % P
_ROOT = pow(2, (P - 1) // 4, P)
Point = tuple[int, int]
ZERO: Point = (0, 1)


def add(one: Point, two: Point) -> Point:
    product = _D * one[0] * two[0] * one[1] * two[1] % P
    x = (one[0] * two[1] + two[0] * one[1]) * pow(1 + product, -1, P) % P
    y = (one[1] * two[1] + one[0] * two[0]) * pow(1 - product, -1, P) % P
    return x, y


def multiply(number: int, point: Point) -> Point:
    result = ZERO
    while number:
        if number & 1:
            result = add(result, point)
        point = add(point, point)
        number >>= 1
    return result


def x_of(y: int, odd: int) -> int | None:
    """The x of a point with this y, None when there is none."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * _ROOT % P
    if (x * x - square) % P:
        return None
    return P - x if x % 2 != odd else x


def pack(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


_BASE_Y = 4 * pow(5, -1, P) % P
_BASE_X = x_of(_BASE_Y, 0)
assert _BASE_X is not None
BASE: Point = (_BASE_X, _BASE_Y)


def torsion() -> list[Point]:
    """The eight points of small order, the neutral one first."""
    y = 2
    while True:  # L times any point is one of the eight; two of y = 2, 3, … suffice in practice
        x = x_of(y, 0)
        if x is not None:
            point = multiply(L, (x, y))
            if multiply(4, point) != ZERO:
                return [multiply(number, point) for number in range(8)]
        y += 1


def challenge(r: bytes, a: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + a + message).digest(), "little") % L
