"""Where a new container goes: filters, then a strategy."""
