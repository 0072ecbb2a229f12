"""The body of ``ContainerUpdate``: limits and the restart policy, what is absent stays."""

from pydantic import Field

from flotilla_engine.host_config import Resources, RestartPolicy


class UpdateConfig(Resources):
    """Body of ``POST /containers/{id}/update``."""

    restart_policy: RestartPolicy = Field(default_factory=RestartPolicy)
