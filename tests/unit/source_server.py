"""A web server that misbehaves on request, for the tests of fetching: https and http on free ports of 127.0.0.1.

Writes the two ports as one line once it listens, and ends when its standard input does."""
import http.server
import json
import os
import ssl
import sys
import threading

JWK = json.dumps({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
OTHER = json.dumps({"kty": "OKP", "crv": "X25519", "kid": "two", "x": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"})
SET = '{"keys":[%s,%s]}' % (JWK, OTHER)

https_port = 0
http_port = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, status=200, content_type="application/json", **fields):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body.encode())

    def redirect(self, target):
        self.answer("", 302, Location=target, ETag='"of-the-redirect"', Cache_Control="max-age=9")

    def do_GET(self):
        path = self.path
        if path == "/jwk":
            self.answer(JWK, content_type="application/jwk+json", ETag='"v1"', Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT",
                        Cache_Control="public, max-age=300", Age="100")
        elif path == "/jwks":
            self.answer(SET, content_type="application/jwk-set+json", Cache_Control="max-age=60, no-store")
        elif path == "/conditional":
            if self.headers.get("If-None-Match") == '"v1"' or self.headers.get("If-Modified-Since"):
                self.send_response(304)
                self.send_header("ETag", '"v1"')
                self.send_header("Cache-Control", "max-age=7")
                self.end_headers()
            else:
                self.answer(JWK, ETag='"v1"')
        elif path == "/headers":
            self.answer(json.dumps({name.lower(): value for name, value in self.headers.items()}))
        elif path == "/html":
            self.answer("<!DOCTYPE html><title>Log in</title>", content_type="text/html")
        elif path == "/text":
            self.answer("[1]")
        elif path == "/empty":
            self.answer("")
        elif path == "/hang":
            threading.Event().wait()
        elif path == "/drip":  # always something, never an end
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            while not threading.Event().wait(0.05):
                self.wfile.write(b" ")
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(JWK.encode())
            self.close_connection = True
        elif path == "/declared":
            self.send_response(200)
            self.send_header("Content-Length", "1000000000")
            self.end_headers()
        elif path == "/endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
        elif path == "/fields":
            self.send_response(200)
            for number in range(60):
                self.send_header("X-%d" % number, "x" * 2000)
            self.end_headers()
        elif path == "/loop":
            self.redirect("/loop")
        elif path.startswith("/hops/"):
            hops = int(path[6:])
            self.redirect("/hops/%d" % (hops - 1) if hops > 1 else "/plain")
        elif path == "/plain":
            self.answer(JWK)
        elif path.startswith("/to/"):
            self.redirect(path[4:].replace("HTTPS", str(https_port)).replace("HTTP", str(http_port)))
        elif path.startswith("/status/"):
            self.answer("{}", int(path[8:]))
        else:
            self.answer("{}", 404)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what the tests are about


def serve(context):
    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    global https_port, http_port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    https_port = serve(context)
    http_port = serve(None)
    print(https_port, http_port, flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


main()
