"""A reverse proxy on loopback that does to an MLflow server what proxies do: it is slow, refuses, fails, goes away."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

HTML = b"<!DOCTYPE html><html><body><h1>We are down for maintenance</h1></body></html>"
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}


class Proxy:
    """Forwards to `target`, an address; the attributes may be changed while it runs.

    delay: seconds before each answer. status: answered in place of the server's own answer, 0 to forward; 200 is a page
    where JSON is expected. times: for how many requests, None for all. count: requests that came.
    """

    def __init__(self, target="", *, tls=None, delay=0.0, status=0, times=None):
        self.target, self.tls = target, tls
        self.delay, self.status, self.times, self.count = delay, status, times, 0
        self._lock, self._port = threading.Lock(), 0
        self._leaving = None
        self.methods = set()  # those that get the status; empty for all
        self.start()

    @property
    def uri(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._port}"

    def start(self):
        """Listen, at the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.proxy = self
        if self.tls:
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def leave_after(self, requests):
        """Break off the connections of all requests after so many, as if the process had gone."""
        self._leaving = self.count + requests

    def come_back(self):
        """Answer again."""
        self._leaving = None

    def fault(self, method):
        """The status that this request gets in place of an answer; 0 for none."""
        with self._lock:
            self.count += 1
            if self._leaving is not None and self.count > self._leaving:
                raise ConnectionAbortedError
            if not self.status or self.times == 0 or (self.methods and method not in self.methods):
                return 0
            if self.times is not None:
                self.times -= 1
            return self.status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that has given up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self):
        proxy = self.server.proxy
        body = self._read()
        fault = proxy.fault(self.command)
        if proxy.delay:
            time.sleep(proxy.delay)
        if fault:
            self._answer(fault, {"Content-Type": "text/html"}, HTML)
            return
        target = urlsplit(proxy.target)
        back = http.client.HTTPConnection(target.hostname, target.port, timeout=120)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            back.request(self.command, self.path, body, headers)
            answer = back.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            self._answer(answer.status, kept, answer.read())
        except OSError:
            self._answer(502, {"Content-Type": "text/html"}, HTML)
        finally:
            back.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _read(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Nothing in the test's output."""


@contextmanager
def proxied(target="", **how):
    """A running proxy that ends with the block."""
    proxy = Proxy(target, **how)
    try:
        yield proxy
    finally:
        proxy.stop()


@dataclass(frozen=True)
class Authority:
    """Files of a private authority, of a server's certificate by it and of a client's."""

    ca: Path
    server: Path
    client: Path

    def context(self, *, ask_client=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        if ask_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_authority(folder):
    """A private authority with a certificate for 127.0.0.1, and one for a client."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def issue(name, issuer=None, signer=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key((signer or key).public_key()), critical=False
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        return built.sign(signer or key, hashes.SHA256()), key, subject

    def write(name, certificate, key):
        path = Path(folder) / name
        text = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            text += key.private_bytes(serialization.Encoding.PEM, *kinds)
        path.write_bytes(text)
        return path

    root, root_key, name = issue("prodkit test authority")
    server, server_key, _ = issue("127.0.0.1", name, root_key)
    client, client_key, _ = issue("client", name, root_key)
    return Authority(
        write("ca.pem", root, None), write("server.pem", server, server_key), write("client.pem", client, client_key)
    )
