"""One colour per party, the same in every picture, panel and page.

They tell apart also for the colour-blind (after Okabe and Ito 2008, and Tol).
"""

from typing import Final

from mpclab.core.ids import SERVER, Party

SERVER_COLOUR: Final = "#495464"
_PARTIES = (
    "#0072b2",
    "#d55e00",
    "#00876c",
    "#b5559d",
    "#b58900",
    "#2f9fd8",
    "#8c4b2f",
    "#6650b8",
    "#6c8a1f",
    "#d1495b",
)


def party_colour(party: Party) -> str:
    """The colour of a party, the same in every picture. 40 parties are all different."""
    if party <= SERVER:
        return SERVER_COLOUR
    turn, place = divmod(party - 1, len(_PARTIES))
    base = _PARTIES[place]
    shade = (0.0, -0.38, 0.36, -0.62)[turn % 4]
    return mix(base, "#000000", -shade) if shade < 0 else mix(base, "#ffffff", shade)


def mix(colour: str, other: str, amount: float) -> str:
    """`colour` moved towards `other` by `amount` in 0..1, as #rrggbb."""
    a, b = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (colour, other))
    return "#" + "".join(f"{round(x + (y - x) * amount):02x}" for x, y in zip(a, b, strict=True))
