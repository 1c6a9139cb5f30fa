"""The real worlds: nodes on real sockets. Names are imported when they are first used, since
aiortc takes its time."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ChannelSettings": "data_channel",
    "IceServer": "data_channel",
    "RealWorld": "world",
    "ServerSettings": "ws_connection",
    "ServerStatus": "ws_server",
    "WebRTCWorld": "webrtc",
    "WebSocketWorld": "websocket",
}

if TYPE_CHECKING:
    from mpclab.worlds.real.data_channel import ChannelSettings, IceServer
    from mpclab.worlds.real.webrtc import WebRTCWorld
    from mpclab.worlds.real.websocket import WebSocketWorld
    from mpclab.worlds.real.world import RealWorld
    from mpclab.worlds.real.ws_server import ServerStatus
    from mpclab.worlds.real.ws_settings import ServerSettings

__all__ = [
    "ChannelSettings",
    "IceServer",
    "RealWorld",
    "ServerSettings",
    "ServerStatus",
    "WebRTCWorld",
    "WebSocketWorld",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mpclab.worlds.real.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mpclab.worlds.real' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
