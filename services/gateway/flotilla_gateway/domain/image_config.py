"""What a container takes over from its image: dockerd's rules (moby ``daemon/commit.go merge``)."""

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig, HealthConfig


def merged(config: ContainerConfig, image: ContainerConfig) -> ContainerConfig:
    """Return the container's configuration, completed by the image's.

    Raises:
        InvalidArgumentError: If there is nothing to run.
    """
    config = completed(config, image)
    if config.entrypoint == [""]:
        config.entrypoint = None
    if not config.entrypoint and not config.cmd:
        raise InvalidArgumentError("no command specified")
    return config


def completed(config: ContainerConfig, image: ContainerConfig) -> ContainerConfig:
    """Return the configuration, completed by the image's, whether it can run or not."""
    cmd, entrypoint = config.cmd, config.entrypoint
    if not entrypoint:
        cmd = cmd or image.cmd
        if entrypoint is None:
            entrypoint = image.entrypoint
    return config.model_copy(
        update={
            "user": config.user or image.user,
            "exposed_ports": image.exposed_ports | config.exposed_ports,
            "env": _environment(config.env, image.env),
            "labels": image.labels | config.labels,
            "cmd": cmd,
            "entrypoint": entrypoint,
            "healthcheck": _health(config.healthcheck, image.healthcheck),
            "working_dir": config.working_dir or image.working_dir,
            "volumes": image.volumes | config.volumes,
            "stop_signal": config.stop_signal or image.stop_signal,
            "shell": config.shell or image.shell,
        }
    )


def _environment(env: list[str], image: list[str]) -> list[str]:
    names = {variable.partition("=")[0] for variable in env}
    return [*env, *(one for one in image if one.partition("=")[0] not in names)]


def _health(config: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    if config is None or image is None:
        return config or image
    given = {name: value for name, value in config.model_dump().items() if value}
    inherited = {name: value for name, value in image.model_dump().items() if value}
    return HealthConfig.model_validate(inherited | given)
