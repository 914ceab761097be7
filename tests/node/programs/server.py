"""A pod's program: an HTTP server on $HOST:8000 that tells its environment, its files, and can be made unwell."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

well = threading.Event()
well.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/health":
            self.answer(200 if well.is_set() else 503, b"")
        elif url.path == "/unwell":
            well.clear()
            self.answer(200, b"")
        elif url.path == "/env":
            self.answer(200, json.dumps(dict(os.environ)).encode())
        elif url.path == "/file":
            self.answer(200, Path(query["path"]).read_bytes())
        elif url.path == "/fetch":
            from urllib.request import urlopen

            self.answer(200, urlopen(query["url"], timeout=5).read())
        else:
            self.answer(404, b"")

    def answer(self, code, body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("serving", flush=True)
ThreadingHTTPServer((os.environ["HOST"], 8000), Handler).serve_forever()
