"""Container logs: written by conmon, rotated, read and shipped by the agent."""
