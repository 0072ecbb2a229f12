"""Containers of this node: one state machine and one writer each."""
