import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from duologue.server import tls


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_certificate_for_this_machine_that_tls_accepts(tmp_path: Path) -> None:
    certificate, key = tls.self_made(tmp_path / "tls", ("kitchen.local", "192.168.1.7"))
    names = load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "kitchen.local"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "::1", "192.168.1.7"} <= addresses
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    assert key.stat().st_mode & 0o077 == 0


def test_it_is_kept_until_it_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tls.self_made(tmp_path)[0]).serial_number
    assert load(tls.self_made(tmp_path)[0]).serial_number == first
    monkeypatch.setattr(tls, "RENEW_DAYS", tls.VALID_DAYS + 1)
    assert load(tls.self_made(tmp_path)[0]).serial_number != first


def test_a_broken_one_is_replaced(tmp_path: Path) -> None:
    certificate, _ = tls.self_made(tmp_path)
    certificate.write_text("nonsense")
    made = load(tls.self_made(tmp_path)[0])
    left = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert left > datetime.timedelta(days=tls.RENEW_DAYS)
