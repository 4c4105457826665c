"""What a request carries, received within a bound."""

from fastapi import Request

from duologue.core.errors import MalformedEvent


async def receive(request: Request, limit_bytes: int) -> bytes:
    """The body of a request, of which never more than the limit is kept.

    Raises:
        MalformedEvent: it is larger (`request_too_large`).
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit_bytes:
            message = f"The body is larger than {limit_bytes} bytes."
            raise MalformedEvent("request_too_large", message)
    return bytes(data)
