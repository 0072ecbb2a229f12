"""The network daemon of a node: answers names and forwards ports, also while the agent is away.

A small process of its own, started by the agent. It imports the standard library only, and knows
nothing but what the agent tells it over a unix socket.
"""
