"""A connection that is kept from one request to the next."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from corral.store.fetch.proxy import Proxy


@dataclass(slots=True)
class Line:
    """A connection that is kept for the next request of the same thread to the same origin."""

    origin: str = ""
    connection: http.client.HTTPConnection | None = None
    proxy: Proxy | None = None

    def take(self, origin: str) -> tuple[http.client.HTTPConnection, Proxy | None] | None:
        """The kept one, if it leads there and its last answer was read to the end."""
        connection, self.connection = self.connection, None
        if connection is None:
            return None
        if self.origin == origin and connection.sock is not None:
            return connection, self.proxy
        connection.close()
        return None

    def keep(self, origin: str, connection: http.client.HTTPConnection, proxy: Proxy | None) -> None:
        """For the next request."""
        self.close()
        self.origin, self.connection, self.proxy = origin, connection, proxy

    def close(self) -> None:
        """The kept connection, if any."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
