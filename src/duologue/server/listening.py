"""Where the server listens: its socket, and the certificate for https."""

import errno
import socket
import ssl
from pathlib import Path

from duologue.core.errors import SetupError

BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens.

    Raises:
        SetupError: the port is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        is_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        raise SetupError(
            "address_unavailable",
            f"Cannot listen on {host}, port {port}: {error.strerror}.",
            remedy="Choose another port with --port (or `make serve PORT=…`), or stop what uses it."
            if is_port
            else "--host must be an address of this machine: 127.0.0.1, or 0.0.0.0 for all of its own.",
        ) from error


def shown(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def certificate_and_key(tls: str, folder: Path, host: str) -> tuple[str | None, str | None]:
    """The files for https; None without it.

    Args:
        tls: "auto" for a self-made certificate, "CERT,KEY" for given ones, or empty.
        folder: where a self-made one is kept.

    Raises:
        SetupError: the files are not there, or no certificate and its key.
    """
    if not tls:
        return None, None
    if tls == "auto":
        from duologue.server.tls import self_made

        certificate, key = self_made(folder, (host,))
        return str(certificate), str(key)
    given, _, secret = tls.partition(",")
    for path in (given, secret):
        if not path or not Path(path).is_file():
            raise SetupError(
                "tls_file_missing",
                f"--tls names no certificate and key: '{path}' is no file.",
                remedy="Use --tls auto, or --tls CERT.pem,KEY.pem.",
            )
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(given, secret)
    except (ssl.SSLError, OSError) as error:
        raise SetupError(
            "tls_file_unusable",
            f"--tls: {given} and {secret} are no certificate and its key: {error.args[-1]}.",
            remedy="Both must be PEM files that belong together; --tls auto makes a pair.",
        ) from error
    return given, secret
