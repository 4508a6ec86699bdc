"""From what was seen when a peer did not do what it should, to what mostly lies behind it and who can mend it."""

from __future__ import annotations

import re

_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"called AE title not recogni[sz]ed",
        "The peer has another AE title: correct the part before the @ (capitals count).",
    ),
    (
        r"calling AE title not recogni[sz]ed",
        "The peer does not know us: have our AE title (calling_ae_title) registered there with this machine's address.",
    ),
    (r"limit exceeded|congestion", "The peer has too many associations at the moment: try again, or raise its limit."),
    (
        r"certificate is not valid for|hostname mismatch|ip address mismatch|doesn't match",
        "The certificate belongs to another host: use the name that stands in it, or have it issued for this one.",
    ),
    (
        r"self.signed certificate|unable to get (local )?issuer|unknown ca|CA is not known",
        "The certificate comes from a CA that is not known here: name its file with --set tls_ca=FILE.",
    ),
    (r"certificate has expired", "The peer's certificate must be renewed; check the clocks of both machines too."),
    (r"not yet valid", "The clock of one of the two machines is wrong."),
    (
        r"certificate required|bad certificate|handshake failure|no shared cipher|protocol version",
        "The peer refuses our TLS: it may want a certificate of ours, or another TLS version.",
    ),
    (
        r"wrong version number|record layer|unexpected eof|eof occurred|packet length too long|handshake failed: .*reset",
        "The peer does not speak TLS on this port: another port, or tls = false.",
    ),
    (
        r"no presentation context accepted",
        "The peer takes none of our kinds of objects from this AE title: allow them there (conformance statement).",
    ),
    (
        r"connection refused",
        "Nothing listens there: is the peer running, and is the port right? Some firewalls refuse like this too.",
    ),
    (
        r"name or service not known|not known|name resolution|nodename",
        "The host name cannot be resolved: correct it, or use the address.",
    ),
    (r"no route|unreachable", "There is no way in the network: check address, routing and firewall."),
    (
        r"no TCP connection",
        "Nobody takes the connection: is the peer running, are address and port right, does a firewall drop what we send?",
    ),
    (
        r"timed? ?out|did not answer|no (valid )?answer in time|not answered within",
        "No answer in time: mostly a firewall that drops what we send, or the wrong address.",
    ),
    (
        r"aborted or not answered|association was lost|reset by peer",
        "The peer hung up: is TLS set alike on both sides, does it want a certificate of ours, and is this its port?",
    ),
    (
        r"(?-i:\b(AR|CR)\b)",
        "The peer rejects the message: version, processing ID T, or sending application are not what it is set to.",
    ),
    (
        r"(?-i:\b(AE|CE)\b)",
        "The peer could not work on the message: its log says why, often a field that its profile demands.",
    ),
    (
        r"something else|MLLP|outside a message|middle of a message|Unreadable",
        "The answer is no HL7 acknowledgement: is this an MLLP port, and with TLS as set here?",
    ),
    (r"answered (with )?401", "Not let in: user, password file or token file are wrong or missing."),
    (r"answered (with )?403", "Known, but not allowed: the account needs the right to do this there."),
    (
        r"answered (with )?40[45]|there is no UPS-RS",
        "Nothing of this kind under the URL: check the path of the base URL.",
    ),
    (r"answered (with )?3\d\d", "The peer sends us elsewhere, which is not followed: give the address that it names."),
    (r"answered (with )?5\d\d", "The peer has trouble of its own: its log says why."),
    (r"0x0124|not authori[sz]ed", "Not allowed: the peer must grant this to our AE title."),
    (r"0xA7", "The peer is out of resources: disk or database full."),
    (r"0x0122|SOP class", "The peer does not do this: its conformance statement says what it takes."),
    (r"tls_ca .* cannot be read|cannot be read", "The file is not there or not readable for this user."),
)
_UNKNOWN = "Look into the peer's log at this time; it mostly says more than it answers."


def likely_cause(words: str) -> str:
    """A sentence for an administrator; never empty."""
    return next((cause for pattern, cause in _CAUSES if re.search(pattern, words, re.IGNORECASE)), _UNKNOWN)
