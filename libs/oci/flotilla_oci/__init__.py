"""Images as OCI and Docker define them: references, manifests, layers, registries."""
