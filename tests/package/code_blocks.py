"""Extract the fenced code blocks of a Markdown page."""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block; `line` is that of its first line in the page."""

    page: Path
    line: int
    language: str
    code: str


def code_blocks(page: Path) -> list[Block]:
    text = page.read_text()
    blocks = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        blocks.append(Block(page, line, match.group(1).strip(), match.group(2)))
    return blocks
