"""The runtime agent: everything that happens to containers on one host."""
