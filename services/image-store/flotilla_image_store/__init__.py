"""Images once for the whole fleet."""
