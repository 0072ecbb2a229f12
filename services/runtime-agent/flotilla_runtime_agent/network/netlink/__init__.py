"""A small typed rtnetlink and nfnetlink client: only the messages that the agent sends."""
