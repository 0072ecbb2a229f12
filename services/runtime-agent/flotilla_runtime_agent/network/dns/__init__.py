"""The embedded DNS server of user networks, at 127.0.0.11 in every container."""
