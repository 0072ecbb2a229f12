"""Ingress: ports published on any node, served at the gateway's own address as well."""
