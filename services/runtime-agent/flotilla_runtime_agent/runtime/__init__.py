"""Processes of containers: conmon, the OCI runtime, their streams and cgroups."""
