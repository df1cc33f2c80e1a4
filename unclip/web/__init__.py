"""OpenAI's Images API over HTTP: a client of the gateway, without torch, that scales by itself. See docs/web.md."""
