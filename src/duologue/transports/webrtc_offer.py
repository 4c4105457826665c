"""What an SDP offer must have to be answered here; aiortc's parser reads it, and lets too much through."""

import re
from typing import Any

from duologue.core.errors import MalformedEvent

_HIDDEN = re.compile(r"(?m)^a=(candidate:.*\.local .*|end-of-candidates\s*)$\n?")
_DIRECTION = re.compile(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)\s*$")


def check_offer(offer: str, sdp: Any) -> bool:
    """Say what is wrong with an offer, if anything is; returns whether it has a data channel.

    Args:
        sdp: the module `aiortc.sdp`.

    Raises:
        MalformedEvent: it cannot be answered.
    """
    if not offer.lstrip().startswith("v="):
        raise wrong("It does not begin as SDP does")
    try:
        description = sdp.SessionDescription.parse(offer)
    except Exception as error:  # it reads foreign text, and raises whatever it stumbles over
        raise wrong("It cannot be read as SDP") from error
    first = {media.kind: media for media in reversed(description.media)}
    if "audio" not in first:
        remedy = "Add an audio track, or a transceiver for one, before you make the offer."
        raise wrong("It has no audio", "no_audio", remedy)
    if "audio/opus" not in {codec.mimeType.lower() for codec in first["audio"].rtp.codecs}:
        raise wrong("Its audio is not offered in Opus", "no_opus", "Offer the codec opus/48000/2.")
    if not _is_bundled(description):
        remedy = 'Make the offer with bundlePolicy "max-bundle".'
        raise wrong("Its lines of media are not bundled", "not_bundled", remedy)
    return "application" in first


def prepared(offer: str) -> str:
    """An offer as aiortc can work with it.

    - Each line of media says its direction, which may be left out (RFC 8866, section 6.7).
    - Addresses behind names of mDNS are left out: asking for each takes up to a second, one after another. The
      browser comes to our addresses anyway, and shows its own by that.
    - More addresses may be expected, for that reason.
    """
    head, *sections = re.split(r"(?m)^(?=m=)", _HIDDEN.sub("", offer))
    for at, section in enumerate(sections):
        if not _DIRECTION.search(section):
            sections[at] = f"{section.rstrip()}\r\na=sendrecv\r\n"
    return head + "".join(sections)


def wrong(what: str, code: str = "invalid_sdp", remedy: str = "") -> MalformedEvent:
    """Why an offer cannot be answered."""
    message = f"This SDP offer cannot be used. {what.rstrip('.')}."
    return MalformedEvent(code, message, remedy=remedy, param="sdp")


def _is_bundled(description: Any) -> bool:
    """All over one transport, as every browser has it; of several, aiortc may leave a task behind."""
    bundles = [set(group.items) for group in description.group if group.semantic == "BUNDLE"]
    names = {media.rtp.muxId for media in description.media}
    return len(description.media) == 1 or any(names <= bundle for bundle in bundles)
