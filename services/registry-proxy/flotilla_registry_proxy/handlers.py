"""The registry proxy's side of its contract on the bus."""

import time
from typing import Protocol

from flotilla_bus import Accept, Empty, Service
from flotilla_bus.contracts import registry as contract
from flotilla_engine.events import Actor, EventMessage
from flotilla_engine.records import ImageRecord
from flotilla_oci import references
from flotilla_oci.references import Reference
from flotilla_oci.registry.tokens import Login
from flotilla_registry_proxy import lookups
from flotilla_registry_proxy.pull import Means, Pull
from flotilla_registry_proxy.push import Push


class Events(Protocol):
    """Where events go."""

    def publish(self, event: EventMessage) -> None:
        """Take an event; it is safe on disk when this returns."""
        ...


class Handlers:
    """Translates between messages and pulls, pushes and questions."""

    def __init__(self, means: Means, events: Events, *, parallel_uploads: int) -> None:
        """Work with these means."""
        self._means = means
        self._events = events
        self._parallel_uploads = parallel_uploads

    def register(self, service: Service) -> None:
        """Serve every method of the contract."""
        service.handle_stream(contract.PULL, self.pull)
        service.handle_stream(contract.PUSH, self.push)
        service.handle(contract.AUTH, self.auth)
        service.handle(contract.SEARCH, self.search)
        service.handle(contract.DISTRIBUTION, self.distribution)

    async def pull(self, request: contract.PullRequest, accept: Accept[Empty]) -> None:
        """Bring an image into the image store."""
        pull = Pull(self._means, request, _login(request.credentials))
        if await pull.run(accept) and pull.image is not None:
            self._tell("pull", references.parse(request.reference), pull.image)

    async def push(self, request: contract.PushRequest, accept: Accept[Empty]) -> None:
        """Bring an image to its registry."""
        push = Push(
            self._means.store,
            self._means.hosts,
            request.reference,
            _login(request.credentials),
            parallel=self._parallel_uploads,
        )
        for name, image in await push.run(await accept(Empty())):
            self._tell("push", name, image)

    async def auth(self, request: contract.AuthRequest) -> contract.AuthAnswer:
        """Try a login."""
        credentials = request.credentials
        return await lookups.check_login(
            self._means.hosts, credentials.server_address, _login(credentials)
        )

    async def search(self, request: contract.SearchRequest) -> contract.SearchAnswer:
        """Search a registry."""
        return await lookups.search(self._means.hosts, request, _login(request.credentials))

    async def distribution(
        self, request: contract.DistributionRequest
    ) -> contract.DistributionAnswer:
        """Return what is behind a name."""
        reference = references.parse(request.reference)
        return await lookups.inspect(self._means.hosts, reference, _login(request.credentials))

    def _tell(self, action: str, name: Reference, image: ImageRecord) -> None:
        now = time.time_ns()
        attributes = {**image.config.labels, "name": name.familiar_name}
        self._events.publish(
            EventMessage(
                type="image",
                action=action,
                actor=Actor(id=name.familiar, attributes=attributes),
                scope="local",
                time=now // 1_000_000_000,
                time_nano=now,
            )
        )


def _login(credentials: contract.Credentials) -> Login:
    return Login(
        username=credentials.username,
        password=credentials.password.get_secret_value(),
        identity_token=credentials.identity_token.get_secret_value(),
        registry_token=credentials.registry_token.get_secret_value(),
    )
