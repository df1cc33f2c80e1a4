"""OpenAI's Images API over HTTP, and the studio: a client of the gateway, without torch, that scales by itself.

See docs/web.md and docs/studio.md.
"""
