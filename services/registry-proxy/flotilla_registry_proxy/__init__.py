"""The only part that talks to outside registries."""
