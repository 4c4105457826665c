"""The HTTP interface as a page that needs nothing from elsewhere, drawn from its OpenAPI description."""

from html import escape
from typing import Any

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Duologue: HTTP interface</title>
<style>:root { color-scheme: light dark } body { font: 17px/1.5 system-ui, sans-serif; max-width: 52rem;
margin: 2rem auto; padding: 0 1.2rem } h2 { font-size: 1.1rem; margin: 1.6rem 0 0 } p { margin: .2rem 0 }
small { opacity: .75 }</style><h1>Duologue: HTTP interface</h1>
<p>Conversations are held at <code>/v1/realtime</code>, a WebSocket that speaks the OpenAI Realtime protocol.
Machines read <a href="/openapi.json">openapi.json</a>.</p>
"""


def described(openapi: dict[str, Any]) -> str:
    """HTML with a paragraph for each route: what it is for, what may be asked, what may come back."""
    parts = [_HEAD]
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            text = route.get("description") or route.get("summary") or ""
            parts.append(
                f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(text)}</p>"
            )
            parts += [
                f"<p><small>{escape(_asked(one))}</small></p>"
                for one in route.get("parameters", ())
            ]
            parts.append(f"<p><small>{escape(_answers(route['responses']))}</small></p>")
    return "\n".join(parts)


def _asked(parameter: dict[str, Any]) -> str:
    schema = parameter.get("schema", {})
    bounds = [
        f"{name} {schema[name]}" for name in ("minimum", "maximum", "default") if name in schema
    ]
    told = ", ".join([f"{parameter['in']} parameter, {schema.get('type', 'any')}", *bounds])
    return f"{parameter['name']}: {told}"


def _answers(responses: dict[str, Any]) -> str:
    return "; ".join(
        f"{code} {answer['description']}" for code, answer in sorted(responses.items())
    )
