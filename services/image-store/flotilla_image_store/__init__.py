"""The image store: images once for the whole fleet, blobs by digest, tags."""
