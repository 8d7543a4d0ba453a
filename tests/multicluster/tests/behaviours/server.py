"""A pod of the matrix: says by TCP and by UDP, at several ports, which pod answers and whom it sees.

By TCP it says so once at once, and again for every line that it hears. `unready` to the control port closes the port that
its readiness is asked at, `ready` opens it again.
"""

import json
import os
import socket
import socketserver
import threading

TCP_PORTS = (8080, 8081)
UDP_PORTS = (7007, 7008)
READY_PORT = 8090
CONTROL_PORT = 7099
POD = os.environ["ISTHMUS_POD"]


def said(port, client):
    return json.dumps({"pod": POD, "port": port, "client": client}).encode() + b"\n"


class Answer(socketserver.StreamRequestHandler):
    """Answers one connection."""

    def handle(self):
        answer = said(self.server.server_address[1], self.client_address[0])
        try:
            self.wfile.write(answer)
            while self.rfile.readline():
                self.wfile.write(answer)
        except OSError:
            pass


class Server(socketserver.ThreadingTCPServer):
    """Listens on both families with one socket."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(port):
    server = Server(("::", port), Answer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def udp(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    return sock


def answer_datagrams(port):
    sock = udp(port)
    while True:
        _, client = sock.recvfrom(2048)
        sock.sendto(said(port, client[0]), client)


for port in TCP_PORTS:
    serve(port)
for port in UDP_PORTS:
    threading.Thread(target=answer_datagrams, args=(port,), daemon=True).start()
control = udp(CONTROL_PORT)
readiness = serve(READY_PORT)
while True:
    order, client = control.recvfrom(64)
    if order == b"unready" and readiness:
        readiness.shutdown()
        readiness.server_close()
        readiness = None
    if order == b"ready" and not readiness:
        readiness = serve(READY_PORT)
    control.sendto(said(CONTROL_PORT, client[0]), client)
