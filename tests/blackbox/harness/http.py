"""HTTP as clients speak it, and, where a test needs it, byte by byte."""

import http.client
import json
import socket

from .program import PATIENCE


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {dict(self.headers.items())} {self.body!r}"


def split_address(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def request(address, method, path, body=None, headers=None):
    """One request on a connection of its own. The path goes out as it is: whatever needs encoding is encoded already."""
    connection = http.client.HTTPConnection(*split_address(address), timeout=PATIENCE)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        elif method in ("PUT", "POST"):
            connection.putheader("Content-Length", "0")
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


class RawConnection:
    """A connection on which a test writes exactly the bytes that it means."""

    def __init__(self, address):
        self.socket = socket.create_connection(split_address(address), timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive_head(self):
        """Reads one status line with its headers, without the body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, f"connection closed in the middle of a head: {head!r}"
            head += byte
        return head

    def receive(self, method="GET"):
        """Reads one final answer."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        return Answer(response.status, response.headers, response.read())

    def close(self):
        self.socket.close()
