"""How a refused pull or push is told: dockerd's texts around those of the registry."""

from flotilla_core.errors import FlotillaError, InternalError, NotFoundError
from flotilla_oci.references import Reference
from flotilla_oci.registry.problems import RegistryError

_LOGIN_HINT = "repository does not exist or may require 'docker login'"


def of_pull(error: FlotillaError, reference: Reference) -> FlotillaError:
    """Return the error of a pull (moby distribution/errors.go, TranslatePullError)."""
    code = error.code if isinstance(error, RegistryError) else ""
    first = first_of(error)
    match code:
        case "DENIED":
            return NotFoundError(
                f"pull access denied for {reference.familiar_name}, {_LOGIN_HINT}: {first}"
            )
        case "MANIFEST_UNKNOWN":
            return NotFoundError(f"manifest for {reference.familiar} not found: {first}")
        case "NAME_UNKNOWN":
            return NotFoundError(f"repository {reference.familiar_name} not found: {first}")
        case _:
            return InternalError(first) if isinstance(error, RegistryError) else error


def first_of(error: FlotillaError) -> str:
    """Return the first of a registry's errors."""
    lines = error.message.splitlines()
    return lines[1] if len(lines) > 1 and lines[0] == "errors:" else error.message
