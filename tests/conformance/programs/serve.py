"""A web server on the pod's address, as far as tests ask one of an image: every path answers, and it logs."""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"Welcome to nginx!\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(sys.argv[1])), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stderr.write("start worker processes\n")
signal.sigwait({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
