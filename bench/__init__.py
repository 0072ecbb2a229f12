"""Measures Flotilla and dockerd side by side: `make bench`."""
