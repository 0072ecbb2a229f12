"""Networks of the node: bridges, tunnels, published ports, embedded DNS."""
