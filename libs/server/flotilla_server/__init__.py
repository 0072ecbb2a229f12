"""What every service runs on: settings, logs, health, lifecycle, and HTTP with hijack and TLS.

Import the module you need: `flotilla_server.settings`, `.logs`, `.health`, `.lifecycle`, `.http`.
Only `.http` needs an HTTP server's libraries, so that an agent does not carry them.
"""
