"""OpenAI's audio interface over HTTP: files to text, text to files."""
