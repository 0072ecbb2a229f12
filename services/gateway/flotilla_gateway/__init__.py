"""The Docker Engine API for the whole fleet."""
