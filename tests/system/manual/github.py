#!/usr/bin/env python3
"""github.com as far as releases go: github.py ADDRESS CERTIFICATE KEY DIRECTORY TAG, of whose release the directory's files are all.

As there, a file's address leads to another address, which has it.
"""

import ssl
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ADDRESS, CERTIFICATE, KEY, DIRECTORY, TAG = sys.argv[1:]
RELEASE = f"/tagalong-dns/tagalong/releases/download/{TAG}/"


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments):
        super().__init__(*arguments, directory=DIRECTORY)

    def do_GET(self):
        path = urlsplit(self.path).path
        if path.startswith(RELEASE):
            name = path.removeprefix(RELEASE)
            self.send_response(302)
            self.send_header("Location", f"https://github.com/assets/{name}?token=x")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("/assets/"):
            self.path = path.removeprefix("/assets")
            super().do_GET()
        else:
            self.send_error(404)


server = ThreadingHTTPServer((ADDRESS, 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
