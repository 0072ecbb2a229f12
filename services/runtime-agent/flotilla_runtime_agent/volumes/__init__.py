"""The node's volumes: driver ``local`` with type, o and device."""
