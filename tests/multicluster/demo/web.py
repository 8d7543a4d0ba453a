"""The demo's web pods: say over HTTP, and over UDP, which pod of which cluster answers and who asked."""

import http.server
import json
import os
import socket
import threading

HTTP_PORT = 8080
ECHO_PORT = 7007
SELF = {key: os.environ.get(f"ISTHMUS_{key.upper()}", "?") for key in ("cluster", "node", "pod")}


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET with one JSON object."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({**SELF, "client": self.client_address[0]}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Listens on both families with one socket."""

    address_family = socket.AF_INET6
    request_queue_size = 512
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def echo():
    """Answers each datagram with the same JSON object and the datagram's text."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", ECHO_PORT))
        while True:
            text, client = sock.recvfrom(2048)
            answer = {**SELF, "client": client[0], "echo": text.decode(errors="replace")}
            sock.sendto(json.dumps(answer).encode(), client)


threading.Thread(target=echo, daemon=True).start()
Server(("::", HTTP_PORT), Answer).serve_forever()
