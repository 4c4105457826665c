"""Tools that are run for the language model: the client of MCP servers."""
