"""The studio: a page to make and steer pictures with in a browser, and what it calls. See docs/studio.md."""
