"""Private numbers as people write them: whole or decimal, exact."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from mpclab.core.errors import UsageError

Number: TypeAlias = int | float | Decimal


def number(value: object) -> int | Decimal:
    """The number that `value` is, exactly as it is written: 0.1 is a tenth.

    Raises:
        UsageError: it is not a number, or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise UsageError(f"{value!r} is not a number")
    if isinstance(value, int):
        return value
    try:
        exact = Decimal(repr(value)) if isinstance(value, float) else value
    except InvalidOperation:
        raise UsageError(f"{value!r} is not a number") from None
    if not exact.is_finite():
        raise UsageError(f"{value!r} is not a finite number")
    return int(exact) if exact == exact.to_integral_value() else exact
