"""HTTP as clients speak it, and, where a test needs it, byte by byte."""

import http.client
import json
import re
import socket
import ssl

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


def trusting_context(options):
    """For requests to a program with these options: None when it does not serve TLS. Whom it trusts is not what it is for."""
    if "--tls-key" not in options:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def request(address, method, path, body=None, headers=None, context=None):
    """One request on a connection of its own. The path goes out as it is: whatever needs encoding is encoded already."""
    where = split_address(address)
    connection = (http.client.HTTPSConnection(*where, timeout=PATIENCE, context=context) if context
                  else http.client.HTTPConnection(*where, timeout=PATIENCE))
    try:
        connection.putrequest(method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True)
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
    """A connection on which a test writes exactly the bytes that it means.

    judge(method, path, answer) is called for each answer whose request had a sound first line."""

    def __init__(self, address, judge=None):
        self.judge, self.request_line = judge, None
        self.socket = socket.create_connection(split_address(address), timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        found = re.match(rb"([A-Za-z]+) (/\S*) HTTP/1\.[01]\r\n", data)
        if found:
            self.request_line = [part.decode() for part in found.groups()]
        self.socket.sendall(data)

    def receive_head(self):
        """Reads one status line with its headers, without the body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, f"connection closed in the middle of a head: {head!r}"
            head += byte
        return head

    def receive(self):
        """Reads one final answer."""
        response = http.client.HTTPResponse(self.socket, method=self.request_line[0] if self.request_line else "GET")
        response.begin()
        answer = Answer(response.status, response.headers, response.read())
        if self.judge and self.request_line:
            self.judge(*self.request_line, answer)
        return answer

    def close(self):
        self.socket.close()
