"""A client of registries: the OCI distribution specification and Docker's token authentication."""
