"""The headers that requests and answers carry, besides those of errors."""

from __future__ import annotations

REQUEST_ID = "Flotilla-Request-Id"
"""The same on a request sent again."""

TIMEOUT = "Flotilla-Timeout"
"""How long the caller waits, in seconds."""

STREAM = "Flotilla-Stream"
"""Of an answer: the inbox of the stream's serving end, or ``direct``."""

DIRECT = "Flotilla-Direct"
"""Of a request: ``host port token`` of where the opener awaits a direct connection."""

DIRECT_TAKEN = "direct"

STATUS = "Status"
NO_RESPONDERS = "503"
