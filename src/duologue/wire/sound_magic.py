"""What a file is, as its first bytes say.

Raw samples have no such bytes, and may look like anything: what is taken for a header is at least four bytes long, or
two frames that agree, so that a chunk of speech looks like one less than once in 2^31.
"""

from duologue.wire import mp4_pieces

_BEGINNINGS = {
    b"RIFF": "wav",
    b"RF64": "wav",
    b"\x1aE\xdf\xa3": "webm",
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"FORM": "aiff",
    b".snd": "au",
    b"caff": "core-audio",
    b"#!AM": "amr",
    b"0&\xb2u": "asf",
}
_MP3_KBITS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),  # MPEG 1, layer III
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),  # MPEG 2 and 2.5
)
_MP3_RATES_HZ = (44_100, 48_000, 32_000)
_NOTES = (b"Xing", b"Info", b"VBRI")


def kind_of(data: bytes) -> str:
    """What begins here: "wav", "webm", "opus" (in Ogg), "mp3", "aac" (ADTS) or "mp4" (in fragments).

    Another name for a file that can only be read whole; empty where no file begins.
    """
    kind = _BEGINNINGS.get(data[:4], "")
    if kind == "ogg":
        return "opus" if b"OpusHead" in data[:64] or len(data) < 36 else "ogg"
    if kind:
        return kind
    if data[4:8] == b"ftyp":
        return "mp4" if mp4_pieces.is_stream(data) else "m4a"
    if tag_bytes(data):
        return "mp3"
    for name, length in (("mp3", _mp3_length), ("aac", _adts_length)):
        first = length(data, 0)
        if first and (length(data, first) or first == len(data)):
            return name
    return ""


def tag_bytes(data: bytes) -> int:
    """The length of the notes (ID3, version 2) with which a file begins."""
    is_tag = data[:3] == b"ID3" and len(data) >= 10 and data[3] in (2, 3, 4)
    if not is_tag or any(byte & 0x80 for byte in data[6:10]):
        return 0
    a, b, c, d = data[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d) + 10 * bool(data[5] & 0x10)


def is_note(frame: bytes) -> bool:
    """Whether a first frame of MP3 is no sound but says how much follows."""
    return any(note in frame[:64] for note in _NOTES)


def _mp3_length(data: bytes, at: int) -> int:
    """Of the frame of MPEG audio, layer III, that begins there (ISO/IEC 11172-3 and 13818-3); 0 if none does."""
    head = int.from_bytes(data[at : at + 4], "big") if len(data) >= at + 4 else 0
    version, rate = head >> 19 & 3, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1 or rate == 3:
        return 0
    kbits = _MP3_KBITS[version != 3][head >> 12 & 15]
    rate_hz = _MP3_RATES_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1_152 if version == 3 else 576
    return samples // 8 * kbits * 1_000 // rate_hz + (head >> 9 & 1) if kbits else 0


def _adts_length(data: bytes, at: int) -> int:
    """Of the frame of AAC that begins there (ISO/IEC 13818-7, ADTS); 0 if none does."""
    head = int.from_bytes(data[at : at + 7], "big") if len(data) >= at + 7 else 0
    if head >> 44 != 0xFFF or head >> 41 & 3 or (head >> 34 & 15) > 12:
        return 0
    length = head >> 13 & 0x1FFF
    return length if length > 7 else 0
