"""Layers and container file systems of this node: fetched once, stacked by overlayfs."""
