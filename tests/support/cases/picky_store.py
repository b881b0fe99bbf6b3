"""A stand-in for stores that differ from AWS.

    python picky_store.py PORT MODE
    r2: replies to every POST of a form with 501 NotImplemented, and to everything else with a plausible reply
    md5: refuses PUTs of policy, versioning, lifecycle and CORS that have no Content-MD5

Signatures are not checked. Tests look only at what Zipcast sends, and at how it handles the refusal.
"""

import http.server
import sys

PORT, MODE = int(sys.argv[1]), sys.argv[2]
XML = '<?xml version="1.0"?><Error><Code>{}</Code><Message>{}</Message></Error>'


class Store(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    policy = None

    def tell(self, status, body="", kind="application/xml"):
        raw = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_HEAD(self):
        self.tell(200)

    def do_GET(self):
        if "policy" in self.path:
            if Store.policy:
                self.tell(200, Store.policy, "application/json")
            else:
                self.tell(404, XML.format("NoSuchBucketPolicy", "none"))
        elif "versioning" in self.path:
            self.tell(200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
        elif "Authorization" not in self.headers:
            self.tell(403, XML.format("AccessDenied", "no"))
        else:
            self.tell(501, XML.format("NotImplemented", "not here"))

    def do_PUT(self):
        body = self.body()
        if MODE == "md5" and "?" in self.path and not self.headers.get("Content-MD5"):
            self.tell(
                400, XML.format("InvalidRequest", "Missing required header for this request: Content-MD5")
            )
            return
        if "policy" in self.path:
            Store.policy = body.decode()
        self.tell(204 if "policy" in self.path else 200)

    def do_POST(self):
        self.body()
        if MODE == "r2":
            self.tell(501, XML.format("NotImplemented", "Presigned post requests are not yet implemented"))
        else:
            self.tell(204)


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Store).serve_forever()
