"""A report as a browser would see it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """What a browser would fetch, the pictures, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures = 0
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        source = given.get("src") or ""
        self.pictures += tag == "img"
        if tag in ("script", "link", "iframe") or (source and not source.startswith("data:image/svg+xml;base64,")):
            self.fetched.append(f"{tag} {source}")
        if (given.get("href") or "#")[0] != "#":
            self.fetched.append(f"{tag} {given['href']}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
