"""Files in and out of containers: cp, export, changes."""
