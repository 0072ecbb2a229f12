"""What the agent answers on the bus: handlers that translate, and decide nothing."""
