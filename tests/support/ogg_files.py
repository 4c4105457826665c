"""Opus in Ogg as FFmpeg makes and reads it: the other side of every cross-check."""

import io

import av


def ogg_opus(
    pcm: bytes,
    rate_hz: int = 24_000,
    *,
    frame_ms: int = 20,
    page_ms: int = 20,
    layout: str = "mono",
) -> bytes:
    """A file of Opus in Ogg; `page_ms` of sound a page."""
    out = io.BytesIO()
    with av.open(
        out, "w", format="ogg", options={"page_duration": str(page_ms * 1000)}
    ) as container:
        options = {"frame_duration": str(frame_ms)}
        stream = container.add_stream("libopus", rate=rate_hz, layout=layout, options=options)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.sample_rate = rate_hz
        frame.planes[0].update(pcm)
        resampler = av.AudioResampler(format="s16", layout=layout, rate=rate_hz)
        for part in resampler.resample(frame):
            for packet in stream.encode(part):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return out.getvalue()


def pcm_of(data: bytes, rate_hz: int = 24_000) -> bytes:
    """The samples of any sound file."""
    out = bytearray()
    with av.open(io.BytesIO(data), "r") as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        for frame in [*container.decode(audio=0), None]:
            for part in resampler.resample(frame):
                out += bytes(part.planes[0])[: part.samples * 2]
    return bytes(out)


def pages_of(data: bytes) -> list[bytes]:
    """Well-formed Ogg cut into its pages, by their lengths alone."""
    pages, at = [], 0
    while at < len(data):
        laces = data[at + 26]
        size = 27 + laces + sum(data[at + 27 : at + 27 + laces])
        pages.append(data[at : at + size])
        at += size
    return pages
