"""The classic builder: a Dockerfile step by step, as dockerd without BuildKit."""
