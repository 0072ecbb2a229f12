"""Which engine the gateway presents itself as: clients read features from these."""

FLOTILLA_VERSION = "0.1.0"
ENGINE_VERSION = f"28.3.3+flotilla{FLOTILLA_VERSION}"
GO_VERSION = "go1.24.5"
"""Clients expect a Go version; the protocol is the one of dockerd 28.3 built with it."""
